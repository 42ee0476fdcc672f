//! What apply, revert and status refuse: one line on standard error, and the tree unchanged.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::Scene;

#[test]
fn a_folder_without_caffes_files_is_refused() {
    let scene = Scene::new();
    fs::remove_file(scene.tree().join("include/caffe/layer.hpp")).unwrap();
    scene.refused(&["apply"], "not a Caffe tree: it has no include/caffe/layer.hpp");
    scene.refused(&["revert"], "not a Caffe tree");
    scene.refused(&["status"], "not a Caffe tree");
}

#[test]
fn a_tree_with_another_layer_class_is_refused() {
    let scene = Scene::new();
    scene.write(
        "include/caffe/layer.hpp",
        "template <typename Ftype, typename Btype>\nclass Layer : public LayerBase {};\n",
    );
    scene.refused(&["apply"], "NVIDIA's Caffe 0.16");
    scene.write(
        "include/caffe/layer.hpp",
        "template <typename Dtype>\nclass Layer { void F(vector<Blob<Dtype>*>* top); };\n",
    );
    scene.refused(&["apply"], "Caffe of 2014");
}

#[test]
fn a_tree_with_another_quant_layer_is_refused() {
    let scene = Scene::new();
    scene.write("src/caffe/layers/my_quant.cpp", "REGISTER_LAYER_CLASS(Quant);\n");
    scene.refused(&["apply"], "my_quant.cpp: the tree has a Quant layer that gfpq did not put there");

    let scene = Scene::new();
    scene.edit("src/caffe/proto/caffe.proto", "x_param = 6;", "x_param = 6; optional Q quant_param = 5;");
    scene.refused(&["apply"], "the name quant_param");

    let scene = Scene::new();
    scene.write("include/caffe/layers/quant_layer.hpp", "theirs\n");
    scene.refused(&["apply"], "quant_layer.hpp: the tree has a Quant layer");
}

#[test]
fn a_tree_without_a_place_for_an_edit_is_refused() {
    for (path, from, to, wanted) in [
        ("Makefile", "LIBRARIES += glog m", "LIBS += glog", "a LIBRARIES line"),
        ("Makefile", "$(DYNAMIC_NAME):", "libcaffe.so:", "the rule of $(DYNAMIC_NAME)"),
        ("Makefile.config.example", "LIBRARY_DIRS", "LIB_DIRS", "a line that sets LIBRARY_DIRS"),
        ("src/caffe/proto/caffe.proto", "message LayerParameter", "message Layer", "a message LayerParameter"),
        ("src/caffe/net.cpp", "->Forward", "->Run", "the call layers_[i]->Forward("),
        ("include/caffe/net.hpp", "DISABLE_COPY_AND_ASSIGN(Net)", "", "DISABLE_COPY_AND_ASSIGN"),
    ] {
        let scene = Scene::new();
        scene.edit(path, from, to);
        scene.refused(&["apply"], wanted);
    }
}

#[test]
fn revert_refuses_edits_of_the_patch_s_own_lines_and_files() {
    let scene = Scene::new();
    scene.apply();
    scene.edit("Makefile", "LIBRARIES += $(GFPQ_NAME)", "LIBRARIES += $(GFPQ_NAME) z");
    scene.edit("src/caffe/net.cpp", "LOG(INFO)", "LOG(ERROR)");
    scene.write("src/caffe/layers/quant_layer.cpp", "mine\n");
    let files = "in the patch's own lines or files: src/caffe/layers/quant_layer.cpp, Makefile.";
    scene.refused(&["revert"], files);
    fs::write(scene.libs().join("lib/libgfpq.so.1.0.0"), b"\0newer").unwrap();
    scene.refused(&["apply"], files);
    scene.refused(&["apply", "--dry-run"], files);
    fs::write(scene.libs().join("lib/libgfpq.so.1.0.0"), b"\0library").unwrap();
    let again = scene.apply();
    assert!(again.contains("already patched") && again.contains("edited since: Makefile"), "{again}");
}

#[test]
fn revert_refuses_a_tree_that_is_not_patched() {
    Scene::new().refused(&["revert"], "not patched by gfpq");
}

#[test]
fn apply_refuses_a_read_only_file() {
    let scene = Scene::new();
    let makefile = scene.tree().join("Makefile");
    fs::set_permissions(&makefile, fs::Permissions::from_mode(0o444)).unwrap();
    scene.refused(&["apply"], "Makefile: no write permission. Nothing was changed");
}

#[test]
fn apply_refuses_an_incomplete_library() {
    let scene = Scene::new();
    fs::remove_file(scene.libs().join("include/gfpq.hpp")).unwrap();
    scene.refused(&["apply"], "no include/gfpq.hpp. Run scripts/package.sh");
}

#[test]
fn revert_refuses_a_damaged_journal_or_original() {
    let scene = Scene::new();
    scene.apply();
    scene.write(".gfpq/original/Makefile", "someone was here\n");
    scene.refused(&["revert"], "this original is missing or was changed");

    let scene = Scene::new();
    scene.apply();
    scene.write(".gfpq/journal.json", "{");
    scene.refused(&["revert"], "the journal is damaged");
}
