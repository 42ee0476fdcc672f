//! Edits for OpenCV 3 and 4.

pub(super) mod imgcodecs;
pub(super) mod names;
