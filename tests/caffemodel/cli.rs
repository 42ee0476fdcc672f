//! `gfpq model`: files, standard streams, exit codes.

#[path = "../support/program.rs"]
mod program;

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::{blob, layer};
use program::stderr;

const NET: &str = "\
layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv' convolution_param { num_output: 2 } }
layer { name: 'scale' type: 'Scale' bottom: 'conv' top: 'conv' }
";

fn model() -> Vec<u8> {
    let conv = layer("conv", "Convolution", &[blob(&[2, 1, 1, 1], &[1.0, 3.0]), blob(&[2], &[1.0, 1.0])]);
    [conv, layer("scale", "Scale", &[blob(&[2], &[2.0, 0.5])])].concat()
}

fn gfpq(folder: &Path, arguments: &[&str], input: &[u8]) -> Output {
    program::run(folder, &[&["model"], arguments].concat(), input)
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("net.prototxt"), NET).unwrap();
    fs::write(folder.path().join("net.caffemodel"), model()).unwrap();
    folder
}

const INPUTS: [&str; 4] = ["--net", "net.prototxt", "--weights", "net.caffemodel"];

#[test]
fn fold_writes_net_and_weights_and_a_summary() {
    let folder = folder();
    let fold = |more: &[&str]| gfpq(folder.path(), &[&["fold"], INPUTS.as_slice(), more].concat(), b"");
    let done = fold(&["--out-net", "out.prototxt", "--out-weights", "out.caffemodel"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let summary = "net.prototxt: 0 BatchNorm and 1 Scale layers folded into 1 layers, 0 not folded\n";
    assert_eq!((stderr(&done).as_str(), done.stdout.as_slice()), (summary, b"".as_slice()));

    let net = fs::read(folder.path().join("out.prototxt")).unwrap();
    assert_eq!(net, NET.lines().next().unwrap().to_owned().into_bytes().into_iter().chain(*b"\n").collect::<Vec<_>>());

    let json = fold(&["--json", "--out-net", "out.prototxt", "--out-weights", "out.caffemodel"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["layers"][0]["folded"][0]["name"], "scale");
    assert_eq!(json["layers"][0]["largest_factor"], 2.0);

    let piped = fold(&["--out-net", "-", "--out-weights", "out.caffemodel"]);
    assert_eq!(piped.stdout, net);

    let twice = fold(&["--out-net", "-", "--out-weights", "-"]);
    assert_eq!(twice.status.code(), Some(1));
    assert!(stderr(&twice).contains("only one result can go to standard output"));
    let one = fold(&["--out-net", "new", "--out-weights", "./new"]);
    assert_eq!((one.status.code(), folder.path().join("new").exists()), (Some(1), false));
    assert!(stderr(&one).contains("cannot both be written to new"), "{}", stderr(&one));

    // An input file may also be the output file.
    let own = fold(&["--out-net", "net.prototxt", "--out-weights", "net.caffemodel"]);
    assert!(own.status.success());
    assert_eq!(fs::read(folder.path().join("net.prototxt")).unwrap(), net);
}

#[test]
fn a_failed_command_writes_no_file() {
    let folder = folder();
    let out = ["--out-net", "out.prototxt", "--out-weights", "nowhere/out.caffemodel"];
    let refused = gfpq(folder.path(), &[&["fold"], INPUTS.as_slice(), &out].concat(), b"");
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).starts_with("gfpq: cannot write nowhere/out.caffemodel: "), "{}", stderr(&refused));
    let out = ["--out-net", "nowhere/out.prototxt", "--out-weights", "out.caffemodel"];
    let refused = gfpq(folder.path(), &[&["fold"], INPUTS.as_slice(), &out].concat(), b"");
    assert_eq!(refused.status.code(), Some(1));

    let swapped = ["quantize", "--net", "net.caffemodel", "--weights", "net.prototxt", "--out-weights", "x"];
    let refused = gfpq(folder.path(), &swapped, b"");
    assert!(stderr(&refused).contains("binary data"), "{}", stderr(&refused));
    let text = ["info", "net.prototxt"];
    let refused = gfpq(folder.path(), &text, b"");
    let expected = "gfpq: net.prototxt: not a caffemodel: it is a text file (give a prototxt with --net)\n";
    assert_eq!((refused.status.code(), stderr(&refused).as_str()), (Some(1), expected));

    let missing = gfpq(folder.path(), &["info", "no.caffemodel"], b"");
    assert!(stderr(&missing).starts_with("gfpq: cannot read no.caffemodel: "));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn quantize_export_params_and_info_print_their_results() {
    let folder = folder();
    let piped = ["quantize", "--net", "net.prototxt", "--weights", "-", "--out-weights", "-"];
    let quantised = gfpq(folder.path(), &piped, &model());
    let said = stderr(&quantised);
    assert!(said.ends_with("<stdin>: weights of 1 layers quantised in 8 bit and of 0 layers in 16 bit\n"), "{said}");
    assert!(said.contains("warning: ") && said.contains("BatchNorm and Scale are folded into them"), "{said}");

    let new = crate::parse(quantised.stdout);
    assert_eq!(crate::values(&new, "conv", 0), [1.0, 2.953_652_4]);
    let sixteen = gfpq(folder.path(), &[piped.as_slice(), &["--bits", "16"]].concat(), &model());
    assert_eq!(crate::values(&crate::parse(sixteen.stdout), "conv", 0), [1.0, 2.985_815_5]);

    let table =
        gfpq(folder.path(), &[&["export-params", "--format", "calibration-txt"], INPUTS.as_slice()].concat(), b"");
    let lines: Vec<_> = std::str::from_utf8(&table.stdout).unwrap().lines().filter(|l| !l.starts_with('#')).collect();
    assert_eq!(lines, ["weights\tconv\t8\t2.953652292e0\t-102\tConvolution"]);
    assert!(stderr(&table).contains("no Quant layers"));
    let json = gfpq(folder.path(), &[&["export-params"], INPUTS.as_slice()].concat(), b"");
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (&json["weights"][0]["values"]["max"], &json["weights"][0]["range"]["delta"]),
        (&3.0.into(), &(-102).into())
    );

    let info = gfpq(folder.path(), &["info", "-"], &model());
    let text = String::from_utf8(info.stdout).unwrap();
    assert!(text.ends_with("<stdin>: 2 layers, 2 of them with blobs; 6 values\n"), "{text}");
    assert!(
        text.lines().nth(1).unwrap().starts_with("conv   Convolution  2x1x1x1       2   1.0000e0  3.0000e0"),
        "{text}"
    );
    let json = gfpq(folder.path(), &["info", "net.caffemodel", "--json"], b"");
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["values"], &json["layers"][0]["blobs"][0]["quantised"][0]["bits"]), (&6.into(), &8.into()));
}
