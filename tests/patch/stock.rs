//! The folder caffe_patch holds what `gfpq patch render --stock` writes, and a README.md written by hand.

use std::path::Path;
use std::process::Command;

use crate::{succeed, tree_content};

#[test]
fn caffe_patch_is_the_rendering_for_stock_caffe() {
    let folder = tempfile::tempdir().unwrap();
    let mut render = Command::new(env!("CARGO_BIN_EXE_gfpq"));
    succeed(render.args(["patch", "render", "--stock", "-o"]).arg(folder.path()).output().unwrap());
    let rendered = tree_content(folder.path());
    let mut checked_in = tree_content(&Path::new(env!("CARGO_MANIFEST_DIR")).join("caffe_patch"));
    let by_hand = Path::new("README.md");
    if !rendered.contains_key(by_hand) {
        checked_in.remove(by_hand);
    }

    let stale = checked_in.keys().filter(|path| !rendered.contains_key(*path)).map(|path| ("is not rendered", path));
    let other = rendered.iter().filter_map(|(path, content)| match checked_in.get(path) {
        None => Some(("is missing", path)),
        Some(known) => (known != content).then_some(("differs", path)),
    });
    let faults: String =
        stale.chain(other).map(|(fault, path)| format!("\n  caffe_patch/{} {fault}", path.display())).collect();
    assert!(
        faults.is_empty(),
        "caffe_patch is not what this program renders:{faults}\nRemove files that are not rendered, and make the others \
         anew with `cargo run --release -- patch render --stock -o caffe_patch`"
    );
}
