//! Edits for Python 3.

pub(super) mod libraries;
pub(super) mod pycaffe;
pub(super) mod skimage;
