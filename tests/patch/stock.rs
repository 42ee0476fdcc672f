//! caffe_patch, the rendering that is checked in, is what this program writes today.

use std::path::Path;
use std::process::Command;

#[test]
fn caffe_patch_is_up_to_date() {
    let fresh = tempfile::tempdir().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_gfpq"))
        .args(["patch", "render", "--stock", "-o"])
        .arg(fresh.path())
        .status()
        .unwrap();
    assert!(status.success());
    let checked_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("caffe_patch");
    let output = Command::new("diff").arg("-r").arg(&checked_in).arg(fresh.path()).output().unwrap();
    let difference = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "run `gfpq patch render --stock -o caffe_patch`:\n{difference}");
}
