//! Apply on a machine with a CUDA toolkit, whose nvcc and nvidia-smi are shell scripts here.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::{Scene, succeed, write};

const LIST: &str = "CUDA_ARCH := -gencode arch=compute_20,code=sm_20 \\\n\t\t-gencode arch=compute_30,code=sm_30 \\\n\
                    \t\t-gencode arch=compute_61,code=sm_61\n";
const CONFIG: &str = "INCLUDE_DIRS := /usr/local/include\nLIBRARY_DIRS := /usr/lib\n";

/// Installs an nvcc of this version into the scene's PATH. It lists these architectures, or fails to if there are none,
/// and accepts this C++ compiler alone.
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
fn apply_drops_architectures_that_nvcc_refuses() {
    for (version, listed, kept) in [
        ("11.8", &[35, 61, 90][..], "CUDA_ARCH := -gencode arch=compute_61,code=sm_61\n"),
        // nvcc 10.2 has no option to list its architectures.
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
fn a_cpu_only_config_keeps_its_architectures() {
    let scene = Scene::new();
    install(&scene, "11.8", &[35, 90], "g++-2");
    scene.write("Makefile.config", &format!("CPU_ONLY := 1\n{LIST}{CONFIG}"));
    let report = scene.apply();
    assert!(!report.contains("cuda-architectures") && !report.contains("Note:"), "{report}");
    assert!(scene.read("Makefile.config").contains(LIST));
}

#[test]
fn apply_names_the_compiler_to_install() {
    let scene = Scene::new();
    install(&scene, "11.8", &[35, 61, 90], "g++-2");
    let report = scene.apply();
    assert!(report.contains("Note: nvcc 11.8 (") && report.contains("install g++-2 and"), "{report}");
    let config = scene.read("Makefile.config");
    assert!(config.contains("CUSTOM_CXX := g++-2\n") && !config.contains("\nCPU_ONLY"), "{config}");
}
