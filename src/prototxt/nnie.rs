//! What the NNIE computes, by layer type.
//!
//! The same list of types with weights is in a Caffe tree's `WeightQuantizer` and in the Python scripts; a test holds them
//! equal.

use super::net::Layer;

/// The type of the layers that quantise data: those that this project adds to a net, removes and looks for.
pub const QUANT: &str = "Quant";

/// The types that the NNIE computes in 8 or 16 bits. The last seven are the names that Caffe forks give to a depthwise
/// convolution.
pub const COMPUTED: [&str; 11] = [
    "Convolution",
    "Deconvolution",
    "Pooling",
    "InnerProduct",
    "DepthwiseConv",
    "DepthwiseConvolution",
    "DepthWiseConv",
    "DepthWiseConvolution",
    "ConvolutionDepthwise",
    "ConvolutionDepthWise",
    "ConvDepthwise",
];

/// The types that the NNIE runs besides those that it computes in 8 or 16 bits: Caffe's own types, and those of public
/// networks that the NNIE compiler knows.
#[rustfmt::skip]
const ON_CHIP: [&str; 50] = [
    "AbsVal", "ArgMax", "BN", "BNLL", "BatchNorm", "BatchReindex", "Bias", "Concat", "Crop", "Dropout", "ELU",
    "Eltwise", "Exp", "Flatten", "Input", "Interp", "LRN", "LSTM", "Log", "MVN", "Mish", "Normalize", "PReLU",
    "PSROIPooling", "PassThrough", "Passthrough", "Permute", "Power", "RNN", "ROIPooling", "RReLU", "ReLU", "ReLU6",
    "Recurrent", "Reduction", "Reorg", "Reshape", "SPP", "Scale", "ShuffleChannel", "Sigmoid", "Slice", "Softmax",
    "Split", "TanH", "Threshold", "Tile", "Unpooling", "Upsample", "Custom",
];

/// The end of a layer's name that tells the NNIE compiler to compute the layer in 16 bits.
const HIGH_PRECISION: &[u8] = b"_hp";

/// Whether the NNIE computes layers of this type in 8 or 16 bits.
pub fn is_computed(kind: &[u8]) -> bool {
    is_in(&COMPUTED, kind)
}

/// Whether the NNIE computes layers of this type with weights.
pub fn has_weights(kind: &[u8]) -> bool {
    kind != b"Pooling" && is_computed(kind)
}

/// Whether the NNIE runs layers of this type in another format than 8 or 16 bits.
pub(super) fn runs_on_chip(kind: &[u8]) -> bool {
    is_in(&ON_CHIP, kind)
}

/// Whether a layer's name asks for 16 bits.
pub(super) fn is_high_precision(layer: &Layer) -> bool {
    layer.name.ends_with(HIGH_PRECISION)
}

/// Whether a layer is for training and testing only: data, losses and measures. Such layers are never deployed.
pub(super) fn stays_behind(layer: &Layer) -> bool {
    let kind = layer.kind.as_slice();
    let is_data = kind.ends_with(b"Data") || (layer.bottoms.is_empty() && kind != b"Parameter");
    is_data
        || kind.windows(4).any(|part| part == b"Loss")
        || matches!(kind, b"Accuracy" | b"Silence" | b"HDF5Output" | b"Proposal")
}

fn is_in(types: &[&str], kind: &[u8]) -> bool {
    types.iter().any(|known| known.as_bytes() == kind)
}
