//! Compatibility edits: what Caffe's sources need to build with today's compilers and libraries.
//!
//! Each edit has a file of its own, in the folder of its library if there are several. To add one, write its file and
//! list it in [`EDITS`].

mod contrastive_max;
mod cuda;
mod edit;
mod opencv;
mod protobuf_bytes_limit;
mod protobuf_header_first;
mod python;

pub(crate) use edit::Edit;

/// All of them, in the order in which they are made.
pub(crate) const EDITS: &[Edit] = &[
    protobuf_bytes_limit::EDIT,
    protobuf_header_first::EDIT,
    opencv::names::EDIT,
    opencv::imgcodecs::EDIT,
    contrastive_max::EDIT,
    python::libraries::EDIT,
    python::pycaffe::EDIT,
    python::skimage::EDIT,
    cuda::properties::EDIT,
    cuda::properties::TEST_EDIT,
    cuda::cudnn_algorithms::EDIT,
];
