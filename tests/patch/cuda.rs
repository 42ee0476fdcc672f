//! A machine with a CUDA toolkit, which is a few lines of shell here.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::{Scene, succeed, write};

const LIST: &str = "CUDA_ARCH := -gencode arch=compute_20,code=sm_20 \\\n\t\t-gencode arch=compute_30,code=sm_30 \\\n\
                    \t\t-gencode arch=compute_61,code=sm_61\n";
const CONFIG: &str = "INCLUDE_DIRS := /usr/local/include\nLIBRARY_DIRS := /usr/lib\n";

/// Puts an nvcc of this version on the scene's path, with its list of architectures and the g++ it takes.
fn install(scene: &Scene, version: &str, architectures: &[u32], compiler: &str) {
    let list: String = architectures.iter().map(|number| format!("compute_{number}\\n")).collect();
    let tell = if architectures.is_empty() { "exit 1".into() } else { format!("printf '{list}'") };
    let newest = compiler.trim_start_matches("g++-");
    let nvcc = format!(
        "#!/bin/sh\ncase \"$*\" in\n*--version*) echo 'Cuda compilation tools, release {version}, V{version}.1' ;;\n\
         *--list-gpu-arch*) {tell} ;;\n*-ccbin={compiler}) ;;\n\
         *) echo '#error -- unsupported GNU version! gcc versions later than {newest} are not supported!' >&2; exit 1 ;;\n\
         esac\n"
    );
    let smi =
        "#!/bin/sh\necho 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.'\nexit 9\n";
    for (name, script) in [("nvcc", nvcc.as_str()), ("nvidia-smi", smi)] {
        let path = scene.bin().join(name);
        write(&path, script.as_bytes());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn refused_architectures_go_from_an_existing_config() {
    for (version, listed, kept) in [
        ("11.8", &[35, 61, 90][..], "CUDA_ARCH := -gencode arch=compute_61,code=sm_61\n"),
        // It has no option to list what it knows.
        ("10.2", &[], "CUDA_ARCH := -gencode arch=compute_30,code=sm_30 \\\n\t\t-gencode arch=compute_61,code=sm_61\n"),
        (
            "13.0",
            &[75],
            "CUDA_ARCH := -gencode arch=compute_75,code=sm_75 \\\n\t\t-gencode arch=compute_75,code=compute_75\n",
        ),
    ] {
        let scene = Scene::new();
        install(&scene, version, listed, "g++");
        scene.write("Makefile.config", &format!("{LIST}{CONFIG}"));
        scene.write("Makefile.config.example", &format!("# CPU_ONLY := 1\n{LIST}{CONFIG}"));
        let before = scene.snapshot();
        let report = scene.apply();
        assert!(report.contains("compatibility edit cuda-architectures: nvcc refuses"), "{report}");
        assert!(!report.contains("Note:"), "{report}");
        for path in ["Makefile.config", "Makefile.config.example"] {
            assert!(scene.read(path).contains(&format!("{kept}INCLUDE_DIRS")), "{}", scene.read(path));
        }
        let once = scene.snapshot();
        assert!(scene.apply().contains("already patched"));
        assert!(scene.snapshot() == once);
        scene.revert();
        assert!(scene.snapshot() == before);
        succeed(scene.gfpq(&["apply", "--no-compat"]));
        assert!(scene.read("Makefile.config").contains(LIST));
    }
}

#[test]
fn a_config_for_another_machine_is_left_alone() {
    let scene = Scene::new();
    install(&scene, "11.8", &[35, 90], "g++-2");
    scene.write("Makefile.config", &format!("CPU_ONLY := 1\n{LIST}{CONFIG}"));
    let report = scene.apply();
    assert!(!report.contains("cuda-architectures") && !report.contains("Note:"), "{report}");
    assert!(scene.read("Makefile.config").contains(LIST));
}

#[test]
fn a_compiler_that_is_missing_is_named() {
    let scene = Scene::new();
    install(&scene, "11.8", &[35, 61, 90], "g++-2");
    let report = scene.apply();
    assert!(report.contains("Note: nvcc 11.8 (") && report.contains("install g++-2 and"), "{report}");
    let config = scene.read("Makefile.config");
    assert!(config.contains("CUSTOM_CXX := g++-2\n") && !config.contains("\nCPU_ONLY"), "{config}");
}
