//! Several processes on one tree at once.

use std::env;
use std::fs::File;
use std::process::{Child, Command, Stdio};

use crate::Scene;

/// How many rounds of concurrent commands; GFPQ_ROUNDS asks for another number.
const ROUNDS: usize = 30;

fn spawn(scene: &Scene, verb: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gfpq"));
    command.args(["patch", verb]).arg(scene.tree());
    if verb == "apply" {
        command.arg("--libs").arg(scene.libs());
    }
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn concurrent_applies_and_reverts_lose_no_original() {
    let rounds = env::var("GFPQ_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let scene = Scene::new();
    let before = scene.snapshot();
    for round in 0..rounds {
        let verbs: &[&str] = match round % 3 {
            0 => &["apply", "apply"],
            1 => &["apply", "revert", "apply", "status"],
            _ => &["apply", "apply", "revert", "revert"],
        };
        let children: Vec<Child> = verbs.iter().map(|verb| spawn(&scene, verb)).collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(stderr.is_empty() || stderr.contains("not patched by gfpq"), "{verbs:?}: {stderr}");
        }
        // Whatever came last, a revert of a patched tree restores it.
        if scene.gfpq(&["status"]).status.code() != Some(3) {
            scene.revert();
        }
        assert!(scene.snapshot() == before, "round {round}: {verbs:?}");
    }
}

#[test]
fn a_tree_that_is_held_for_long_is_refused_with_the_holder() {
    let scene = Scene::new();
    let folder = File::open(scene.tree()).unwrap();
    folder.lock().unwrap();
    let pid = std::process::id();
    scene.refused(&["apply"], &format!("process {pid} patches or reverts this tree"));
    drop(folder);
    scene.apply();
}
