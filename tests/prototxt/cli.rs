//! The program: standard streams, files, exit codes.

#[path = "../support/program.rs"]
mod program;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::{added, fixture};
use program::stderr;

fn gfpq(arguments: &[&str], input: &[u8]) -> Output {
    program::run(Path::new("."), &[&["prototxt"], arguments].concat(), input)
}

fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn from_standard_input_to_standard_output_and_back() {
    let text = fixture("train_val.prototxt");
    let with = gfpq(&["add-quant", "-"], text.as_bytes());
    assert!(with.status.success());
    assert_eq!(with.stdout, added(&text).as_bytes());
    let summary =
        "<stdin>: 5 Quant layers added (4 of 8 bit, 1 of 16 bit), feeding 2 Convolution, 1 InnerProduct, 2 Pooling\n";
    assert_eq!(stderr(&with), summary);
    let without = gfpq(&["strip-quant", "-"], &with.stdout);
    assert_eq!(without.stdout, text.as_bytes());
    assert_eq!(stderr(&without), "<stdin>: 5 Quant layers taken out, 5 bottoms rewired\n");
}

#[test]
fn the_summary_counts_what_was_added_and_what_was_there() {
    let text = fixture("train_val.prototxt");
    let once = gfpq(&["add-quant", "-", "--weights", "--exclude", "conv1"], text.as_bytes());
    let twice = gfpq(&["add-quant", "-", "--weights"], &once.stdout);
    let again = gfpq(&["add-quant", "-", "--weights"], &twice.stdout);
    let summary = "<stdin>: 0 Quant layers added; 5 bottoms were fed by one already\n";
    assert!(stderr(&again).ends_with(summary), "{}", stderr(&again));
    assert!(stderr(&once).ends_with("; weight_quant_param added; quant_param added for the weights of 1 layer\n"));
}

#[test]
fn a_file_may_be_its_own_output() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.prototxt");
    let text = fixture("residual.prototxt");
    fs::write(&path, &text).unwrap();
    #[cfg(unix)]
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let name = path.to_str().unwrap();
    assert!(gfpq(&["add-quant", name, "-o", name], b"").status.success());
    assert_eq!(fs::read_to_string(&path).unwrap(), added(&text));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        // A link stays a link.
        let link = folder.path().join("link.prototxt");
        std::os::unix::fs::symlink("net.prototxt", &link).unwrap();
        let link_name = link.to_str().unwrap();
        assert!(gfpq(&["strip-quant", link_name, "-o", link_name], b"").status.success());
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        // So does one to a file that is not there yet.
        fs::create_dir(folder.path().join("new")).unwrap();
        std::os::unix::fs::symlink("new/net.prototxt", folder.path().join("first")).unwrap();
        let dangling = folder.path().join("second");
        std::os::unix::fs::symlink("first", &dangling).unwrap();
        assert!(gfpq(&["add-quant", name, "-o", dangling.to_str().unwrap()], b"").status.success());
        assert!(fs::symlink_metadata(&dangling).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(folder.path().join("new/net.prototxt")).unwrap(), added(&text));
    }
    assert!(!listing(folder.path()).iter().any(|name| name.starts_with(".gfpq")));
}

#[test]
fn a_diff_writes_only_where_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.prototxt");
    fs::write(&path, fixture("residual.prototxt")).unwrap();
    let name = path.to_str().unwrap();
    let shown = gfpq(&["add-quant", name, "--diff"], b"");
    let diff = String::from_utf8(shown.stdout).unwrap();
    assert!(
        diff.starts_with("--- a/") && diff.contains("\n@@ ") && diff.contains("\n+layer { name: \"data_quant\""),
        "{diff}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), fixture("residual.prototxt"));
    let out = folder.path().join("out.prototxt");
    let written = gfpq(&["add-quant", name, "--diff", "-o", out.to_str().unwrap()], b"");
    assert_eq!(written.stdout, diff.as_bytes());
    assert_eq!(fs::read_to_string(&out).unwrap(), added(&fixture("residual.prototxt")));
    let nothing = gfpq(&["strip-quant", name, "--diff"], b"");
    assert!(nothing.status.success() && nothing.stdout.is_empty());
}

#[test]
fn an_error_is_one_line_and_writes_nothing() {
    let whole = fixture("train_val.prototxt");
    let cases: [(&[u8], &str); 8] = [
        (b"", "an empty file"),
        (b"# nothing\n", "an empty file"),
        (&whole.as_bytes()[..900], "the end of the file"),
        (b"layer { name: 'a' }\n}\n", "<stdin>:2:1: expected a field name, found `}`"),
        (b"\n\x05LeNet\xa2\x06\x00\x00", "binary data"),
        (&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0], "binary data"),
        (b"\xff\xfen\0a\0m\0e\0", "this is UTF-16"),
        (b"{\"json\": 1}", "expected a field name, found `{`"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.prototxt");
    for command in ["add-quant", "strip-quant"] {
        for (input, message) in cases {
            let refused = gfpq(&[command, "-", "-o", out.to_str().unwrap()], input);
            assert_eq!(refused.status.code(), Some(1), "{command} {message}");
            assert!(
                stderr(&refused).starts_with("gfpq: ") && stderr(&refused).contains(message),
                "{}",
                stderr(&refused)
            );
            assert!(refused.stdout.is_empty());
        }
    }
    assert_eq!(gfpq(&["check", "-"], b"").status.code(), Some(1));
    let mistyped = gfpq(&["check", "-"], b"layer {\n  bottom: data\n}\n");
    let expected = "gfpq: <stdin>:2:11: expected a string in quotes as the value of `bottom`\n  2 |   bottom: data\n";
    assert!(stderr(&mistyped).starts_with(expected), "{}", stderr(&mistyped));
    let stuck = gfpq(&["strip-quant", "-"], b"layer { name: 'q' type: 'Quant' bottom: 'a' top: 'q' top: 'r' }");
    let expected = "gfpq: <stdin>:1:7: Quant layer `q` cannot be taken out: it has 1 bottom(s) and 2 top(s)";
    assert!(stderr(&stuck).starts_with(expected), "{}", stderr(&stuck));
    let old = gfpq(&["add-quant", "-", "-o", out.to_str().unwrap()], fixture("old.prototxt").as_bytes());
    assert_eq!(old.status.code(), Some(1));
    assert_eq!(stderr(&old).lines().count(), 1);
    assert!(stderr(&old).contains("<stdin>: line 8: `layers` is Caffe's old form"), "{}", stderr(&old));
    assert!(listing(folder.path()).is_empty());
}

#[test]
fn missing_files_are_named() {
    let missing = gfpq(&["add-quant", "no/such.prototxt"], b"");
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("cannot read no/such.prototxt: "), "{}", stderr(&missing));
    let out = gfpq(&["add-quant", "-", "-o", "no/such/folder.prototxt"], b"name: 'x'");
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).contains("cannot write no/such/folder.prototxt: "), "{}", stderr(&out));
    assert_eq!(gfpq(&["add-quant", "-", "--bits", "7"], b"").status.code(), Some(2));
    let kind = gfpq(&["add-quant", "-", "--types", "Interp,Quant"], b"name: 'x'");
    assert_eq!(kind.status.code(), Some(1));
    assert!(stderr(&kind).starts_with("gfpq: --types: `Quant` is the layer that quantises"), "{}", stderr(&kind));
    let glob = gfpq(&["add-quant", "-", "--exclude", "a["], b"name: 'x'");
    assert_eq!(glob.status.code(), Some(1));
    assert!(stderr(&glob).contains("`a[` is not a glob"), "{}", stderr(&glob));
}

#[test]
fn check_prints_a_table_or_json() {
    let text = fixture("train_val.prototxt");
    let table = gfpq(&["check", "-"], text.as_bytes());
    assert_eq!(table.status.code(), Some(1));
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.starts_with("error    line 25  conv1     `data` does not come from a Quant layer\n"), "{table}");
    assert!(
        table.ends_with("<stdin>: 5 errors, 0 warnings; 12 layers, 5 of them computed by the NNIE, 0 Quant\n"),
        "{table}"
    );
    let json = gfpq(&["check", "-", "--json"], text.as_bytes());
    assert_eq!(json.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["errors"], &json["findings"][0]["fault"]), (&5.into(), &"unfed".into()));
    assert_eq!(gfpq(&["check", "-"], added(&text).as_bytes()).status.code(), Some(0));
    assert_eq!(gfpq(&["check", "--target", "compiler", "-"], text.as_bytes()).status.code(), Some(0));
}

#[test]
fn a_diff_keeps_every_byte() {
    let text = b"# caf\xe9\rold\ninput: 'x'\nlayer { name: 'a' type: 'Pooling' bottom: 'x' top: 'a' }".as_slice();
    let shown = gfpq(&["add-quant", "-", "--diff"], text).stdout;
    let is_there = |line: &[u8]| shown.windows(line.len()).any(|part| part == line);
    assert!(is_there(b"\n # caf\xe9\rold\n input"), "{}", shown.escape_ascii());
    assert!(is_there(b"top: 'a' }\n\\ No newline at end of file\n"), "{}", shown.escape_ascii());
}

#[test]
#[cfg(unix)]
fn the_exit_code_is_the_same_if_output_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.prototxt");
    // More than a pipe holds.
    let many: String = (0..4000).map(|i| format!("layer {{ name: 'l{i}' type: 'Pooling' bottom: 'x' }}\n")).collect();
    fs::write(&path, format!("input: 'x'\n{many}")).unwrap();
    let run = |command: &str, out: Stdio, err: Stdio| {
        Command::new(env!("CARGO_BIN_EXE_gfpq")).args(["prototxt", command]).arg(&path).stdout(out).stderr(err).spawn()
    };
    for _ in 0..3 {
        let mut child = run("check", Stdio::piped(), Stdio::null()).unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(1));
    }
    if let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") {
        let mut child = run("add-quant", Stdio::null(), full.into()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_layer_counts_once_and_phases_are_named_where_they_matter() {
    let two = "input: 'x' input: 'y' layer { name: 'c' type: 'Convolution' bottom: 'x' bottom: 'y' top: 'c' }";
    let summary = stderr(&gfpq(&["add-quant", "-"], two.as_bytes()));
    assert_eq!(summary, "<stdin>: 2 Quant layers added (2 of 8 bit), feeding 1 Convolution\n");
    let nowhere = b"layer { name: 'c' type: 'Pooling' bottom: 'x' top: 'c' }";
    let summary = stderr(&gfpq(&["add-quant", "-"], nowhere));
    assert!(summary.starts_with("gfpq: warning: <stdin>: layer `c` reads `x`, which nothing makes\n"), "{summary}");
}
