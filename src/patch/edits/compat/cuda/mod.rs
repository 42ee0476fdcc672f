//! Edits for CUDA and cuDNN.

pub(super) mod properties;
