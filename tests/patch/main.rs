//! The patch on small trees that the tests make themselves; scripts/checks/check_tree.sh tests it on a real Caffe.

mod apply_revert;
mod compat;
mod completeness;
mod concurrent;
mod cuda;
mod faults;
mod hostile;
mod refusals;
mod stock;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// The smallest files of a Caffe tree that the patch accepts.
const FILES: &[(&str, &str)] = &[
    (
        "Makefile",
        "LIB_BUILD_DIR := build/lib\nifneq ($(CPU_ONLY), 1)\n\tLIBRARIES := cudart\nendif\n\nLIBRARIES += glog m\n\
         all: $(DYNAMIC_NAME)\n\n$(DYNAMIC_NAME): $(OBJS) | $(LIB_BUILD_DIR)\n\t$(CXX) -o $@\n",
    ),
    ("Makefile.config.example", "# CPU_ONLY := 1\nINCLUDE_DIRS := /usr/local/include\nLIBRARY_DIRS := /usr/lib\n"),
    ("include/caffe/layer.hpp", "template <typename Dtype>\nclass Layer {};\n"),
    ("include/caffe/net.hpp", "#include \"caffe/blob.hpp\"\nclass Net {\n  DISABLE_COPY_AND_ASSIGN(Net);\n};\n"),
    (
        "src/caffe/net.cpp",
        "void Net<Dtype>::Init(const NetParameter& in_param) {\n  LOG(INFO) << \"Network initialization done.\";\n}\nvoid F() {\n  l = layers_[i]->Forward(b, t);\n\
         \x20 layers_[i]->Backward(\n      t, b);\n}\n",
    ),
    ("src/caffe/util/io.cpp", "void R() {\n  in->SetTotalBytesLimit(kLimit, 536870912);\n}\n"),
    (
        "src/caffe/proto/caffe.proto",
        "// LayerParameter next available layer-specific ID: 7 (last added: x_param)\n\
         message LayerParameter {\n  optional string name = 1;\n  optional XParameter x_param = 6;\n}\n\
         message NetParameter {\n  optional string name = 1;\n  repeated LayerParameter layer = 100;\n}\n",
    ),
];

/// A small Caffe tree in a temporary folder, and a library to install into it.
struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Scene {
        let scene = Scene { folder: tempfile::tempdir().unwrap() };
        for (path, content) in FILES {
            scene.write(path, content);
        }
        for path in ["include/gfpq.hpp", "include/gfpq_ext.hpp", "lib/libgfpq.so.1.0.0", "lib/libgfpq_gpu.so.1.0.0"] {
            write(&scene.libs().join(path), b"\0library");
        }
        for name in ["libgfpq", "libgfpq_gpu"] {
            let target = format!("{name}.so.1.0.0");
            std::os::unix::fs::symlink(target, scene.libs().join(format!("lib/{name}.so.1"))).unwrap();
        }
        scene
    }

    fn tree(&self) -> PathBuf {
        self.folder.path().join("caffe")
    }

    fn libs(&self) -> PathBuf {
        self.folder.path().join("GFPQLibs")
    }

    /// The folder that `gfpq` has first on its PATH.
    fn bin(&self) -> PathBuf {
        self.folder.path().join("cuda/bin")
    }

    fn write(&self, path: &str, content: &str) {
        write(&self.tree().join(path), content.as_bytes());
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.tree().join(path)).unwrap()
    }

    fn edit(&self, path: &str, from: &str, to: &str) {
        let content = self.read(path);
        assert!(content.contains(from), "{path} has no {from:?}");
        self.write(path, &content.replace(from, to));
    }

    fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        tree_content(&self.tree())
    }

    fn gfpq(&self, arguments: &[&str]) -> Output {
        let (verb, options) = arguments.split_first().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gfpq"));
        command.args(["patch", verb]).arg(self.tree()).args(options);
        let path = env::var_os("PATH").unwrap_or_default();
        command.env("PATH", env::join_paths([self.bin()].into_iter().chain(env::split_paths(&path))).unwrap());
        if *verb == "apply" {
            command.arg("--libs").arg(self.libs());
        }
        command.output().unwrap()
    }

    fn apply(&self) -> String {
        succeed(self.gfpq(&["apply"]))
    }

    fn revert(&self) -> String {
        succeed(self.gfpq(&["revert"]))
    }

    /// Runs a command that must fail with one line that contains `text`, and must not change the tree.
    fn refused(&self, arguments: &[&str], text: &str) {
        let before = self.snapshot();
        let output = self.gfpq(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(text), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(self.snapshot() == before, "the tree changed");
    }
}

/// Every path below a folder, with a file's bytes or a link's target.
fn tree_content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry.unwrap();
        let content = match entry.file_type() {
            kind if kind.is_dir() => b"folder".to_vec(),
            kind if kind.is_symlink() => fs::read_link(entry.path()).unwrap().into_os_string().into_encoded_bytes(),
            _ => fs::read(entry.path()).unwrap(),
        };
        all.insert(entry.path().strip_prefix(folder).unwrap().to_path_buf(), content);
    }
    all
}

fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// The standard output of a command that must succeed.
fn succeed(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
