//! Apply, revert, status and dry run, on trees that the patch fits.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::{Scene, succeed};

#[test]
fn revert_restores_every_byte_and_mode() {
    let scene = Scene::new();
    scene.write("src/caffe/util/io.cpp", "// caf\u{e9}\r\n  in->SetTotalBytesLimit(k, 5);\r\n");
    let makefile = scene.tree().join("Makefile");
    fs::set_permissions(&makefile, fs::Permissions::from_mode(0o755)).unwrap();
    let before = scene.snapshot();
    scene.apply();
    assert_eq!(fs::metadata(&makefile).unwrap().permissions().mode() & 0o777, 0o755);
    assert!(scene.read("src/caffe/util/io.cpp").contains("#else\r\n"));
    assert!(scene.read("src/caffe/proto/caffe.proto").contains("quant_param = 7;"));
    assert!(scene.read("src/caffe/proto/caffe.proto").contains("ID: 8 (last added: quant_param)"));
    assert!(scene.read("Makefile.config").contains("GFPQLibs/lib"));
    scene.revert();
    assert!(scene.snapshot() == before);
    assert_eq!(fs::metadata(&makefile).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn a_second_apply_changes_nothing() {
    let scene = Scene::new();
    scene.apply();
    let once = scene.snapshot();
    assert!(scene.apply().contains("already patched"));
    assert!(scene.snapshot() == once);
}

#[test]
fn an_existing_config_keeps_its_settings() {
    let scene = Scene::new();
    let own = "BLAS := mkl\nLIBRARY_DIRS := /opt/lib\n# mine\n";
    scene.write("Makefile.config", own);
    scene.apply();
    let patched = scene.read("Makefile.config");
    assert!(patched.starts_with("BLAS := mkl\nLIBRARY_DIRS := /opt/lib\n\n# The GFPQ"), "{patched}");
    assert!(patched.ends_with("# mine\n"), "{patched}");
    scene.revert();
    assert_eq!(scene.read("Makefile.config"), own);
}

#[test]
fn a_second_apply_adds_what_options_left_out() {
    let scene = Scene::new();
    succeed(scene.gfpq(&["apply", "--no-config", "--no-compat"]));
    assert!(!scene.tree().join("Makefile.config").exists());
    assert!(!scene.read("src/caffe/util/io.cpp").contains("#if"));
    // A second apply without these options adds the rest, and revert still restores the original tree.
    scene.apply();
    assert!(scene.tree().join("Makefile.config").exists());
    assert!(scene.read("src/caffe/util/io.cpp").contains("#if"));
    scene.revert();
    assert!(scene.snapshot() == Scene::new().snapshot());
}

#[test]
fn dry_run_prints_the_changes_and_writes_nothing() {
    let scene = Scene::new();
    let before = scene.snapshot();
    let diff = succeed(scene.gfpq(&["apply", "--dry-run"]));
    assert!(scene.snapshot() == before);
    assert!(diff.contains("--- a/Makefile\n+++ b/Makefile\n"));
    assert!(diff.contains("--- /dev/null\n+++ b/include/caffe/layers/quant_layer.hpp\n"));
    assert!(diff.contains("+  optional QuantParameter quant_param = 7;"));
    scene.apply();
    assert_eq!(succeed(scene.gfpq(&["apply", "--dry-run"])), "");
}

#[test]
fn status_reports_edits_of_the_patch_and_of_the_user() {
    let scene = Scene::new();
    assert_eq!(scene.gfpq(&["status"]).status.code(), Some(3));
    scene.apply();
    let status = succeed(scene.gfpq(&["status"]));
    assert!(status.contains("compatibility edit protobuf-bytes-limit"), "{status}");
    scene.edit("Makefile", "LIBRARIES += glog m", "LIBRARIES += glog m z");
    let output = scene.gfpq(&["status"]);
    assert_eq!(output.status.code(), Some(1));
    let status = String::from_utf8(output.stdout).unwrap();
    assert!(status.contains("Makefile: link and copy the library  (edited since)"), "{status}");
    let json: serde_json::Value = serde_json::from_slice(&scene.gfpq(&["status", "--json"]).stdout).unwrap();
    assert_eq!((&json["state"], &json["edited"][0]), (&"edited".into(), &"Makefile".into()));
}

/// Both `apply` and `revert` recover, however many of the files had reached their places.
#[test]
fn an_interrupted_apply_can_be_undone_and_finished() {
    let paths =
        ["src/caffe/layers/quant_layer.cpp", "Makefile", "src/caffe/proto/caffe.proto", "GFPQLibs/lib/libgfpq.so.1"];
    for arrived in 0..=paths.len() {
        for finish in [false, true] {
            let scene = Scene::new();
            let before = scene.snapshot();
            scene.apply();
            let after = scene.snapshot();
            scene.edit(".gfpq/journal.json", "\"applied\"", "\"applying\"");
            for path in &paths[arrived..] {
                let path = scene.tree().join(path);
                match before.get(path.strip_prefix(scene.tree()).unwrap()) {
                    Some(original) => fs::write(path, original).unwrap(),
                    None => fs::remove_file(path).unwrap(),
                }
            }
            assert_eq!(scene.gfpq(&["status"]).status.code(), Some(1));
            if finish {
                scene.apply();
                assert!(scene.snapshot() == after);
            } else {
                scene.revert();
                assert!(scene.snapshot() == before);
            }
        }
    }
}

/// An apply that was killed before it wrote its journal leaves files that do not hinder the next command.
#[test]
fn apply_and_revert_remove_leftovers_without_a_journal() {
    let scene = Scene::new();
    scene.write(".gfpq/staged/Makefile", "half");
    assert_eq!(scene.gfpq(&["status"]).status.code(), Some(3));
    scene.apply();
    scene.revert();
    assert!(scene.snapshot() == Scene::new().snapshot());
    scene.write(".gfpq/staged/Makefile", "half");
    scene.revert();
    assert!(scene.snapshot() == Scene::new().snapshot());
}

#[test]
fn a_linked_file_is_edited_and_its_link_restored() {
    let scene = Scene::new();
    for path in ["Makefile.config", "src/caffe/proto/caffe.proto"] {
        let link = scene.tree().join(path);
        let target = link.with_extension("target");
        let _ = fs::rename(&link, &target);
        if !target.exists() {
            fs::write(&target, "LIBRARY_DIRS := /opt/lib\n").unwrap();
        }
        std::os::unix::fs::symlink(target.file_name().unwrap(), &link).unwrap();
    }
    let before = scene.snapshot();
    scene.apply();
    let once = scene.snapshot();
    assert!(scene.apply().contains("already patched"));
    assert!(scene.snapshot() == once);
    scene.revert();
    assert!(scene.snapshot() == before);
}

#[test]
fn a_new_library_is_installed_and_the_users_edits_are_kept() {
    let scene = Scene::new();
    scene.apply();
    fs::write(scene.libs().join("lib/libgfpq.so.1.0.0"), b"\0newer").unwrap();
    scene.edit("Makefile.config", "/usr/lib", "/usr/lib /opt/lib");
    scene.edit("src/caffe/net.cpp", "LOG(INFO)", "LOG(ERROR)");
    assert!(scene.apply().contains("patched"));
    assert_eq!(fs::read(scene.tree().join("GFPQLibs/lib/libgfpq.so.1")).unwrap(), b"\0newer");
    assert!(scene.read("Makefile.config").contains("/usr/lib /opt/lib"));
    assert!(scene.read("Makefile.config").contains("GFPQLibs/lib"));
    let source = scene.read("src/caffe/net.cpp");
    assert!(source.contains("LOG(ERROR)") && source.contains("weight_quantizer_->BeforeForward"), "{source}");
}

/// What the user has written into files of the patched tree.
fn edit_patched(scene: &Scene) {
    scene.edit("Makefile", "LIBRARIES += glog m\n", "LIBRARIES += glog m z\n");
    scene.edit("Makefile", "all: ", "# mine\nall: ");
    scene.edit("src/caffe/net.cpp", "  l = layers_[i]->Forward(b, t);", "  // mine\n  l = layers_[i]->Forward(b, t);");
    scene.edit("src/caffe/proto/caffe.proto", "x_param = 6;", "x_param = 6; // mine");
    scene.edit("Makefile.config.example", "LIBRARY_DIRS := /usr/lib", "LIBRARY_DIRS := /usr/lib /opt/lib");
}

#[test]
fn revert_keeps_the_users_edits_beside_the_patch() {
    let scene = Scene::new();
    scene.apply();
    edit_patched(&scene);
    scene.edit("Makefile.config", "LIBRARY_DIRS := ", "# mine\nLIBRARY_DIRS := /opt/lib ");
    let said = scene.revert();
    assert!(said.contains("keeps your edits: Makefile.config\n"), "{said}");

    let config = scene.read("Makefile.config");
    assert!(config.contains("# mine\nLIBRARY_DIRS := /opt/lib ") && !config.contains("GFPQ"), "{config}");
    fs::remove_file(scene.tree().join("Makefile.config")).unwrap();
    let expected = Scene::new();
    edit_patched(&expected);
    assert!(scene.snapshot() == expected.snapshot());
}

#[test]
fn a_dry_run_over_edits_prints_what_an_apply_would_change() {
    let scene = Scene::new();
    scene.apply();
    edit_patched(&scene);
    assert_eq!(succeed(scene.gfpq(&["apply", "--dry-run"])), "");
}
