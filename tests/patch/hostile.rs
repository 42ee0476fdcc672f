//! Trees that were made to harm: nothing outside of the tree is read, written or removed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

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
        victim.scene.refused(&["apply"], "leads out of the tree. Nothing was changed");
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
