//! Edits for CUDA and cuDNN.

pub(super) mod cudnn_algorithms;
pub(super) mod properties;
