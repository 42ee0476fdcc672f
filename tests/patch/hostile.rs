//! Trees that were made to harm: nothing outside of the tree is read, written or removed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::{Scene, tree_content};

/// A patched tree beside a folder of the user's, to which the tree's journal or links will point.
struct Victim {
    scene: Scene,
}

impl Victim {
    fn new() -> Victim {
        let victim = Victim { scene: Scene::new() };
        fs::create_dir_all(victim.home().join("empty")).unwrap();
        fs::write(victim.home().join("bashrc"), "mine\n").unwrap();
        victim
    }

    fn home(&self) -> std::path::PathBuf {
        self.scene.tree().parent().unwrap().join("home")
    }

    /// Runs all commands. None may change anything in the user's folder.
    fn is_safe(&self, what: &str) {
        let before = tree_content(&self.home());
        for arguments in [&["status"][..], &["apply", "--dry-run"], &["apply"], &["revert"], &["revert"]] {
            let output = self.scene.gfpq(arguments);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(!stderr.contains("panicked"), "{what}, {arguments:?}: {stderr}");
            assert!(tree_content(&self.home()) == before, "{what}, {arguments:?}: the user's folder changed");
        }
    }

    /// Puts another path into the journal in place of the Makefile's, with an original and a hash that fit.
    fn name_in_journal(&self, path: &str) {
        self.scene.apply();
        let journal = self.scene.read(".gfpq/journal.json");
        let named = journal.replace("\"path\": \"Makefile\"", &format!("\"path\": {path:?}"));
        assert_ne!(named, journal);
        self.scene.write(".gfpq/journal.json", &named);
    }
}

#[test]
fn a_journal_that_names_paths_outside_of_the_plan_is_refused() {
    let absolute = Victim::new();
    let bashrc = absolute.home().join("bashrc").display().to_string();
    for path in [
        "../home/bashrc",
        "../../home/bashrc",
        "src/../../home/bashrc",
        "./../home/bashrc",
        "src/caffe/../../../home/bashrc",
        "GFPQLibs/../../home/bashrc",
        "GFPQLibs/lib/../../../home/bashrc",
        "src/caffe/layers/../../../../home/bashrc",
        ".git/hooks/post-commit",
        ".gfpq/journal.json",
        ".gfpq/original/Makefile",
        "README.md",
        "",
        ".",
        "/",
    ] {
        let victim = Victim::new();
        victim.name_in_journal(path);
        victim.scene.refused(&["revert"], "the journal is damaged");
        victim.scene.refused(&["apply"], "the journal is damaged");
        victim.is_safe(path);
    }
    absolute.name_in_journal(&bashrc);
    absolute.is_safe("an absolute path");
}

#[test]
fn a_journal_that_names_folders_outside_of_the_plan_is_refused() {
    for dir in ["../home/empty", "/tmp", "src/../../home/empty", ".git", "GFPQLibs/../../home/empty", ""] {
        let victim = Victim::new();
        victim.scene.apply();
        let journal = victim.scene.read(".gfpq/journal.json");
        let named = journal.replace("\"created_dirs\": [", &format!("\"created_dirs\": [ {dir:?},"));
        assert_ne!(named, journal);
        victim.scene.write(".gfpq/journal.json", &named);
        victim.scene.refused(&["revert"], "which gfpq did not make");
        victim.is_safe(dir);
    }
}

/// Replaces a folder or file of the tree by a link to a copy of it in the user's folder.
fn move_outside(victim: &Victim, path: &str) {
    let inside = victim.scene.tree().join(path);
    let outside = victim.home().join(Path::new(path).file_name().unwrap());
    fs::rename(&inside, &outside).unwrap();
    symlink(&outside, &inside).unwrap();
}

#[test]
fn a_link_that_leads_out_of_the_tree_is_refused_before_anything_is_written() {
    for path in ["src", "src/caffe", "src/caffe/proto", "include", "include/caffe", "Makefile", "src/caffe/net.cpp"] {
        let victim = Victim::new();
        move_outside(&victim, path);
        victim.scene.refused(&["apply"], "leads out of the tree");
        victim.is_safe(path);
    }
}

#[test]
fn a_link_put_into_a_patched_tree_leads_no_revert_outside() {
    for path in ["src", "src/caffe/layers", "include/caffe", "GFPQLibs", "GFPQLibs/lib", ".gfpq/original", ".gfpq"] {
        let victim = Victim::new();
        victim.scene.apply();
        move_outside(&victim, path);
        victim.is_safe(path);
    }
}

#[test]
fn gfpq_s_own_folder_as_a_link_within_the_tree_is_refused() {
    let scene = Scene::new();
    symlink("src", scene.tree().join(".gfpq")).unwrap();
    scene.refused(&["apply"], ".gfpq: not made by gfpq");
    scene.refused(&["revert"], ".gfpq: not made by gfpq");
}

#[test]
fn a_folder_of_the_user_s_with_gfpq_s_name_is_kept() {
    let scene = Scene::new();
    scene.write(".gfpq/notes.txt", "mine\n");
    scene.refused(&["apply"], ".gfpq: not made by gfpq");
    scene.refused(&["revert"], ".gfpq: not made by gfpq");

    // After an apply too: the user's file in it would be lost with the folder.
    let scene = Scene::new();
    scene.apply();
    scene.write(".gfpq/notes.txt", "mine\n");
    scene.refused(&["revert"], ".gfpq: not made by gfpq");
}

#[test]
fn a_journal_that_names_a_file_twice_or_none_is_refused() {
    let scene = Scene::new();
    scene.apply();
    let journal = scene.read(".gfpq/journal.json");
    let mut json: serde_json::Value = serde_json::from_str(&journal).unwrap();
    let changes = json["changes"].as_array_mut().unwrap();
    let mut again = changes[0].clone();
    changes.push(again.clone());
    scene.write(".gfpq/journal.json", &json.to_string());
    scene.refused(&["revert"], "the journal is damaged");

    again["path"] = "src/./caffe/layers/quant_layer.cpp".into();
    json["changes"] = serde_json::json!([again]);
    scene.write(".gfpq/journal.json", &json.to_string());
    scene.refused(&["revert"], "which gfpq never changes");

    json["changes"] = serde_json::json!([]);
    scene.write(".gfpq/journal.json", &json.to_string());
    scene.refused(&["status"], "it names no file");
}

#[test]
fn a_file_where_a_folder_is_needed_is_refused() {
    for path in ["GFPQLibs", "include/caffe/util"] {
        let scene = Scene::new();
        scene.write(path, "mine\n");
        scene.refused(&["apply"], "not a folder, and the patch needs one here");
        let scene = Scene::new();
        symlink("nowhere", scene.tree().join(path)).unwrap();
        scene.refused(&["apply"], "not a folder, and the patch needs one here");
    }
    let scene = Scene::new();
    scene.apply();
    fs::remove_dir_all(scene.tree().join("GFPQLibs")).unwrap();
    scene.write("GFPQLibs", "mine\n");
    scene.revert();
    assert_eq!(scene.read("GFPQLibs"), "mine\n");
}

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    for path in ["Makefile.config", "src/caffe/layers/x.cpp", ".gfpq"] {
        let scene = Scene::new();
        let pipe = scene.tree().join(path);
        fs::create_dir_all(pipe.parent().unwrap()).unwrap();
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let output = scene.gfpq(&["apply"]);
        assert_eq!(output.status.code(), Some(1), "{path}");
    }
}

#[test]
fn no_file_of_a_revert_runs_as_its_owner() {
    let scene = Scene::new();
    fs::set_permissions(scene.tree().join("Makefile"), fs::Permissions::from_mode(0o6755)).unwrap();
    scene.apply();
    fs::set_permissions(scene.tree().join(".gfpq/original/Makefile"), fs::Permissions::from_mode(0o6755)).unwrap();
    scene.revert();
    assert_eq!(fs::metadata(scene.tree().join("Makefile")).unwrap().permissions().mode() & 0o7777, 0o755);
}
