//! The libraries that Caffe's Makefile can leave out, and what a build without them lacks.

use super::machine::Machine;

/// A library that Caffe can be built without.
#[derive(Debug)]
pub(in crate::patch) struct Feature {
    /// The variable of Makefile.config that chooses it.
    pub switch: &'static str,
    /// Its setting in a build without the library.
    pub off: Off,
    /// The library's name.
    pub name: &'static str,
    /// Debian's package with its headers.
    pub package: &'static str,
    /// What a Caffe without it cannot do.
    pub loss: &'static str,
    /// A library by which a Makefile without the switch links it; empty if no such Makefile exists.
    pub library: &'static str,
    is_here: fn(&Machine) -> bool,
}

/// How Makefile.config turns a feature off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::patch) enum Off {
    /// The switch is on by default, and this value turns it off.
    Value(&'static str),
    /// The switch is off by default, and on where a line sets it.
    Unset,
}

const FEATURES: [Feature; 6] = [
    Feature {
        switch: "CPU_ONLY",
        off: Off::Value("1"),
        name: "CUDA's nvcc",
        package: "nvidia-cuda-toolkit",
        loss: "nothing runs on a GPU",
        library: "",
        is_here: |machine| machine.cuda.is_some(),
    },
    Feature {
        switch: "USE_CUDNN",
        off: Off::Unset,
        name: "cudnn.h",
        package: "nvidia-cudnn",
        loss: "convolutions on a GPU use Caffe's own kernels",
        library: "",
        is_here: |machine| machine.cuda.is_some() && machine.cudnn,
    },
    Feature {
        switch: "USE_NCCL",
        off: Off::Unset,
        name: "nccl.h",
        package: "libnccl-dev",
        loss: "training uses one GPU",
        library: "",
        is_here: |machine| machine.cuda.is_some() && machine.nccl,
    },
    Feature {
        switch: "USE_OPENCV",
        off: Off::Value("0"),
        name: "OpenCV",
        package: "libopencv-dev",
        loss: "layers cannot read images, nor databases of encoded images",
        library: "opencv_core",
        is_here: |machine| machine.opencv.is_some(),
    },
    Feature {
        switch: "USE_LMDB",
        off: Off::Value("0"),
        name: "LMDB",
        package: "liblmdb-dev",
        loss: "Data layers cannot read LMDB databases",
        library: "lmdb",
        is_here: |machine| machine.lmdb,
    },
    Feature {
        switch: "USE_LEVELDB",
        off: Off::Value("0"),
        name: "LevelDB with Snappy",
        package: "libleveldb-dev libsnappy-dev",
        loss: "Data layers cannot read LevelDB databases",
        library: "leveldb",
        is_here: |machine| machine.leveldb,
    },
];

impl Machine {
    /// The features whose libraries this machine lacks.
    pub(in crate::patch) fn missing(&self) -> impl Iterator<Item = &'static Feature> {
        FEATURES.iter().filter(|feature| !(feature.is_here)(self))
    }
}

impl Feature {
    /// What the user should know where a Makefile.config turns the feature off.
    pub(in crate::patch) fn note(&self) -> String {
        let Feature { switch, name, package, loss, .. } = self;
        let line = match self.off {
            Off::Value(value) => format!("has {switch} := {value}"),
            Off::Unset => format!("does not set {switch}"),
        };
        format!(
            "{name} was not found, so Makefile.config {line}: {loss}. To have it, install {package} (Debian's name), \
             then apply again"
        )
    }
}
