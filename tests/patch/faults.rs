//! Disk calls that fail, processes that are killed, file systems that differ: tests that need strace or root.
//!
//! `scripts/test.sh patch_faults` runs them. They are ignored elsewhere.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown, lchown};
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::{Scene, succeed};

/// The system calls that change something on disk, or make sure that it is there.
const CALLS: [&str; 10] =
    ["openat", "openat2", "write", "renameat", "unlinkat", "mkdirat", "symlinkat", "fsync", "fchmod", "fchown"];

/// Of the calls of one kind, every how many-th is made to fail. GFPQ_FAULT_STRIDE=1 takes them all.
fn stride() -> usize {
    env::var("GFPQ_FAULT_STRIDE").map_or(13, |stride| stride.parse().unwrap())
}

fn strace(scene: &Scene, verb: &str, options: &[&str]) -> Output {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq"]).args(options);
    command.arg(env!("CARGO_BIN_EXE_gfpq")).args(["patch", verb]).arg(scene.tree());
    if verb == "apply" {
        command.arg("--no-config").arg("--libs").arg(scene.libs());
    }
    command.output().expect("strace is needed: scripts/setup.sh strace")
}

/// How often a command calls each of [`CALLS`].
fn counts(verb: &str) -> BTreeMap<&'static str, usize> {
    let scene = Scene::new();
    if verb == "revert" {
        succeed(scene.gfpq(&["apply", "--no-config"]));
    }
    let log = scene.folder.path().join("strace.log");
    let calls = format!("trace={}", CALLS.join(","));
    succeed(strace(&scene, verb, &["-o", log.to_str().unwrap(), "-e", &calls]));
    let log = fs::read_to_string(log).unwrap();
    let count = |call: &str| log.lines().filter(|line| line.contains(&format!(" {call}("))).count();
    CALLS.iter().map(|&call| (call, count(call))).collect()
}

/// An edit of the user's beside the patch, which commands must keep.
fn edit(scene: &Scene) {
    scene.edit("src/caffe/net.cpp", "LOG(INFO)", "LOG(ERROR)");
}

/// Makes the calls of a command fail one by one, once on a tree as it was patched, once on one that the user has edited
/// since. Afterwards a revert must restore the tree, or an apply finish it.
fn inject(verb: &str, fault: &str) -> usize {
    inject_into(verb, fault, false) + if verb == "revert" { inject_into(verb, fault, true) } else { 0 }
}

fn inject_into(verb: &str, fault: &str, is_edited: bool) -> usize {
    let mut runs = 0;
    for (call, count) in counts(verb) {
        for number in (1..=count).step_by(stride()) {
            let scene = Scene::new();
            if is_edited {
                edit(&scene);
            }
            let before = scene.snapshot();
            succeed(scene.gfpq(&["apply", "--no-config"]));
            let patched = scene.snapshot();
            scene.revert();
            if verb == "revert" {
                if is_edited {
                    scene.edit("src/caffe/net.cpp", "LOG(ERROR)", "LOG(INFO)");
                }
                succeed(scene.gfpq(&["apply", "--no-config"]));
                if is_edited {
                    edit(&scene);
                }
            }

            let injection = format!("inject={call}:{fault}:when={number}");
            let log = scene.folder.path().join("strace.log");
            let output = strace(&scene, verb, &["-o", log.to_str().unwrap(), "-e", &injection]);
            let stderr = String::from_utf8_lossy(&output.stderr);
            let what = format!("{verb}, {injection}: {stderr}");
            assert!(!stderr.contains("panicked"), "{what}");

            let stands = scene.snapshot();
            let is_whole = stands == before || stands == patched;
            if runs % 2 == 0 {
                succeed(scene.gfpq(&["apply", "--no-config"]));
                // The journal of a file that was edited before the apply has other hashes than that of one edited after.
                let is_finished = scene.snapshot() == patched
                    || (is_edited && without_own_folder(&scene.snapshot()) == without_own_folder(&patched));
                assert!(is_finished, "apply did not finish it: {what}");
            }
            if scene.gfpq(&["status"]).status.code() != Some(3) || !is_whole {
                scene.revert();
            }
            assert!(without_leftovers(&scene) == before, "revert did not restore it: {what}");
            runs += 1;
        }
    }
    runs
}

fn without_own_folder(all: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<(&PathBuf, &Vec<u8>)> {
    all.iter().filter(|(path, _)| !path.starts_with(".gfpq")).collect()
}

/// The tree without the folder of an apply that failed before it touched the tree, and could not even remove that.
fn without_leftovers(scene: &Scene) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = scene.snapshot();
    if !scene.tree().join(".gfpq/journal.json").exists() {
        all.retain(|path, _| !path.starts_with(".gfpq"));
    }
    all
}

#[test]
#[ignore = "needs strace"]
fn a_tree_is_recovered_after_a_kill_at_any_disk_call() {
    let runs = inject("apply", "signal=KILL") + inject("revert", "signal=KILL");
    println!("{runs} kills recovered");
    assert!(runs > 20);
}

#[test]
#[ignore = "needs strace"]
fn a_tree_is_recovered_after_a_full_disk_at_any_disk_call() {
    let runs = inject("apply", "error=ENOSPC") + inject("revert", "error=ENOSPC");
    println!("{runs} full disks recovered");
    assert!(runs > 20);
}

#[test]
#[ignore = "needs strace"]
fn a_tree_is_recovered_after_an_input_output_error_at_any_disk_call() {
    let runs = inject("apply", "error=EIO") + inject("revert", "error=EIO");
    println!("{runs} input and output errors recovered");
    assert!(runs > 20);
}

/// Runs gfpq in a mount namespace in which `src` of the tree is a file system of its own.
fn with_src_mounted(scene: &Scene, script: &str) -> Output {
    let setup = "set -e; mkdir ../src; cp -a src/. ../src; mount -t tmpfs none src; cp -a ../src/. src; rm -r ../src";
    let gfpq = format!("gfpq() {{ {} patch \"$@\"; }}", env!("CARGO_BIN_EXE_gfpq"));
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &format!("{setup}; {gfpq}; {script}")]);
    command.current_dir(scene.tree()).env("LIBS", scene.libs()).output().unwrap()
}

#[test]
#[ignore = "needs root, to mount a file system"]
fn a_folder_on_another_file_system_is_patched_and_reverted() {
    let scene = Scene::new();
    let script = "cp -a . ../before; gfpq apply . --libs \"$LIBS\"; gfpq status .; gfpq apply . --libs \"$LIBS\"; \
                  gfpq revert .; diff -r --no-dereference ../before .";
    let output = with_src_mounted(&scene, script);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(succeed(output).contains("already patched, nothing changed"), "{stdout}");
}

/// All files below the tree with their owners, links included.
fn owners(scene: &Scene) -> Vec<(PathBuf, u32, u32)> {
    let entries = walkdir::WalkDir::new(scene.tree()).sort_by_file_name().into_iter().map(Result::unwrap);
    let owner = |entry: walkdir::DirEntry| {
        let metadata = fs::symlink_metadata(entry.path()).unwrap();
        (entry.path().strip_prefix(scene.tree()).unwrap().to_path_buf(), metadata.uid(), metadata.gid())
    };
    entries.map(owner).collect()
}

#[test]
#[ignore = "needs root, to give files away"]
fn a_tree_that_root_patches_stays_its_users() {
    let scene = Scene::new();
    for (path, ..) in owners(&scene) {
        lchown(scene.tree().join(path), Some(1234), Some(5678)).unwrap();
    }
    // One file belongs to somebody else, who keeps it.
    chown(scene.tree().join("Makefile"), Some(4321), Some(5678)).unwrap();
    let before = owners(&scene);

    scene.apply();
    for (path, user, group) in owners(&scene) {
        let expected = if path.ends_with("Makefile") { 4321 } else { 1234 };
        assert_eq!((user, group), (expected, 5678), "{}", path.display());
    }
    scene.revert();
    assert_eq!(owners(&scene), before);
}
