//! The output of `gfpq bench`, as a table and as JSON.

use std::process::{Command, Output};

fn gfpq(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gfpq")).args(arguments).output().expect("gfpq runs")
}

#[test]
fn json_has_a_figure_for_every_case() {
    let output = gfpq(&["bench", "--count", "10", "--count", "1000", "--bits", "8", "--json"]);
    assert!(output.status.success());
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let figures = answer["figures"].as_array().unwrap();
    // Two counts, two types, three modes.
    assert_eq!(figures.len(), 12);
    for figure in figures {
        for key in ["ns", "gb_per_s", "read_gb_per_s", "rewrite_gb_per_s", "limit_gb_per_s", "share_of_limit"] {
            assert!(figure[key].as_f64().unwrap() > 0.0, "{key} of {figure}");
        }
        assert!(figure["ratio"].is_null());
    }
}

#[test]
fn the_table_has_a_row_for_every_case() {
    let output = gfpq(&["bench", "--count", "10"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("float")).count(), 12, "{text}");
}

#[test]
fn a_library_that_does_not_load_gives_one_line_and_exit_1() {
    let output = gfpq(&["bench", "--count", "10", "--against", "/nowhere/libgfpq.so"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("/nowhere/libgfpq.so"), "{text}");
}

#[test]
fn the_instruction_set_can_be_pinned() {
    let output = Command::new(env!("CARGO_BIN_EXE_gfpq")).args(["info", "--json"]).env("GFPQ_ARCH", "scalar").output();
    let answer: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    assert_eq!(answer["cpu_path"], "scalar");
}
