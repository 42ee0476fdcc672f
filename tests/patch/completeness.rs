//! Patched trees of which parts were deleted or set back since, by hand or by git.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Scene, succeed, tree_content};

fn git(folder: &Path, arguments: &[&str]) -> String {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"];
    let output = Command::new("git").current_dir(folder).args(identity).args(arguments).output().unwrap();
    succeed(output)
}

/// What BVLC's Caffe tells git to ignore, as far as it meets the patch.
const GITIGNORE: &str = "*.so\n*.so.*\n*.a\n*.o\nMakefile.config\n/build\n";

impl Scene {
    /// The small tree as a git repository with one commit.
    fn in_git() -> Scene {
        let scene = Scene::new();
        scene.write(".gitignore", GITIGNORE);
        git(&scene.tree(), &["init", "-q"]);
        git(&scene.tree(), &["add", "-A"]);
        git(&scene.tree(), &["commit", "-qm", "stock"]);
        scene
    }

    fn status(&self) -> (i32, serde_json::Value) {
        let output = self.gfpq(&["status", "--json"]);
        (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
    }
}

#[test]
fn status_names_what_is_missing_original_or_edited() {
    let scene = Scene::new();
    let original = scene.read("src/caffe/net.cpp");
    scene.apply();
    fs::remove_file(scene.tree().join("GFPQLibs/lib/libgfpq.so.1")).unwrap();
    scene.write("src/caffe/net.cpp", &original);
    scene.edit("Makefile", "glog m", "glog m z");

    let (code, json) = scene.status();
    assert_eq!((code, &json["state"]), (1, &"incomplete".into()));
    assert_eq!(json["missing"], serde_json::json!(["GFPQLibs/lib/libgfpq.so.1"]));
    assert_eq!(json["original"], serde_json::json!(["src/caffe/net.cpp"]));
    assert_eq!(json["edited"], serde_json::json!(["Makefile"]));

    let text = String::from_utf8(scene.gfpq(&["status"]).stdout).unwrap();
    assert!(text.contains("net.cpp: quantised weights  (back to its original)"), "{text}");
    assert!(text.contains("libgfpq.so.1: the library  (missing)"), "{text}");
    assert!(text.contains("Run `gfpq patch apply` to patch again"), "{text}");
}

#[test]
fn apply_patches_again_what_is_missing_or_original_and_leaves_edits_alone() {
    let scene = Scene::new();
    let before = scene.snapshot();
    let original = scene.read("src/caffe/net.cpp");
    scene.apply();
    let patched = scene.snapshot();

    fs::remove_file(scene.tree().join("GFPQLibs/lib/libgfpq.so.1")).unwrap();
    fs::remove_dir_all(scene.tree().join("include/caffe/util")).unwrap();
    fs::remove_file(scene.tree().join("Makefile.config")).unwrap();
    scene.write("src/caffe/net.cpp", &original);
    scene.edit("Makefile", "glog m", "glog m z");
    let said = scene.apply();
    assert!(said.contains("5 files that were missing or unpatched are patched again"), "{said}");
    assert!(said.contains("again src/caffe/net.cpp") && said.contains("edited since: Makefile"), "{said}");

    scene.edit("Makefile", "glog m z", "glog m");
    assert!(scene.snapshot() == patched);
    scene.revert();
    assert!(scene.snapshot() == before);
}

#[test]
fn revert_takes_original_and_missing_files_for_undone() {
    let scene = Scene::new();
    let before = scene.snapshot();
    scene.apply();
    fs::remove_file(scene.tree().join("GFPQLibs/lib/libgfpq.so.1")).unwrap();
    fs::remove_file(scene.tree().join("Makefile")).unwrap();
    scene.write("src/caffe/net.cpp", &String::from_utf8(before[Path::new("src/caffe/net.cpp")].clone()).unwrap());
    scene.revert();
    assert!(scene.snapshot() == before);
}

#[test]
fn git_checkout_undoes_the_edits_and_apply_makes_them_again() {
    let scene = Scene::in_git();
    scene.apply();
    let patched = scene.snapshot();
    git(&scene.tree(), &["checkout", "-q", "--", "."]);
    let (code, json) = scene.status();
    assert_eq!((code, &json["state"]), (1, &"incomplete".into()));
    assert!(json["original"].as_array().unwrap().contains(&"src/caffe/net.cpp".into()), "{json}");
    scene.apply();
    assert!(without_git(&scene.snapshot()) == without_git(&patched));
}

#[test]
fn git_clean_of_ignored_files_keeps_the_library() {
    let scene = Scene::in_git();
    scene.apply();
    git(&scene.tree(), &["clean", "-qfdX"]);
    assert!(scene.tree().join("GFPQLibs/lib/libgfpq.so.1.0.0").exists());
    let (_, json) = scene.status();
    assert_eq!(json["missing"], serde_json::json!(["Makefile.config"]));
    scene.apply();
    succeed(scene.gfpq(&["status"]));
}

#[test]
fn a_committed_patched_tree_works_after_a_clone() {
    let scene = Scene::in_git();
    // This machine's own settings are there before the patch, and git ignores them.
    scene.write("Makefile.config", "BLAS := mkl\nLIBRARY_DIRS := /opt/lib\n");
    scene.apply();
    git(&scene.tree(), &["add", "-A"]);
    git(&scene.tree(), &["commit", "-qm", "patched"]);

    let clone = Scene::new();
    fs::remove_dir_all(clone.tree()).unwrap();
    git(clone.folder.path(), &["clone", "-q", scene.tree().to_str().unwrap(), clone.tree().to_str().unwrap()]);
    let (code, json) = clone.status();
    assert_eq!(code, 1, "{json}");
    assert_eq!(json["missing"], serde_json::json!(["Makefile.config"]), "{json}");

    clone.apply();
    succeed(clone.gfpq(&["status"]));
    assert_eq!(git(&clone.tree(), &["status", "--porcelain"]), "", "only ignored files differ from the commit");
    clone.revert();
    assert_eq!(clone.read("src/caffe/net.cpp"), Scene::new().read("src/caffe/net.cpp"));
}

#[test]
fn git_status_is_clean_after_a_revert() {
    let scene = Scene::in_git();
    scene.apply();
    scene.revert();
    assert_eq!(git(&scene.tree(), &["status", "--porcelain", "--ignored"]), "");
}

/// A snapshot without git's own files, whose index changes.
fn without_git(all: &std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>) -> Vec<(&std::path::PathBuf, &Vec<u8>)> {
    all.iter().filter(|(path, _)| !path.starts_with(".git")).collect()
}

#[test]
fn a_file_that_an_interrupted_apply_never_reached_keeps_its_time() {
    let scene = Scene::new();
    let before = tree_content(&scene.tree());
    scene.apply();
    scene.edit(".gfpq/journal.json", "\"applied\"", "\"applying\"");
    let path = scene.tree().join("src/caffe/net.cpp");
    fs::write(&path, &before[Path::new("src/caffe/net.cpp")]).unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    scene.revert();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), long_ago);
}
