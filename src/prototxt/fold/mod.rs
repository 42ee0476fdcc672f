//! Which BatchNorm and Scale layers fold into the layer with weights before them, and the text of the net without them.
//!
//! A chain is a layer with weights and the BatchNorm and Scale layers behind it. Each must be the only reader of the layer
//! before it, in every state of the net. The layer with weights takes over the name of the last layer's top, so that the
//! chain's result keeps its name for its readers, and for users who look for an output by name.

mod foldable_layers;
mod folded_text;

use bstr::BString;

use super::net::{Layer, Net};

pub use foldable_layers::chains;
pub use folded_text::fold_text;

/// Where an output channel's weights lie in a layer's weight blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Along the blob's first axis: convolutions and inner products.
    Outermost,
    /// Along the blob's last axis: an inner product with `transpose: true`.
    Innermost,
    /// Deconvolution: the blob's shape is (inputs, outputs / groups, height, width).
    Deconvolution {
        /// The layer's `group`.
        groups: usize,
    },
}

/// The affine map that a layer applies to each channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Affine {
    /// `(x - mean) / sqrt(variance + eps)`
    BatchNorm {
        /// The layer's `eps`.
        eps: f32,
    },
    /// `x * gamma`, and `+ beta` if the layer has a bias.
    Scale {
        /// The layer's `bias_term`.
        bias: bool,
    },
}

/// One step of a chain: a layer, or several layers of one name that take part in different states of the net.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The layers' numbers in the net.
    pub layers: Vec<usize>,
    /// The map that they apply.
    pub affine: Affine,
}

/// A layer with weights, and the layers that fold into it.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The number in the net of the layer with weights.
    pub layer: usize,
    /// The layout of its weights.
    pub layout: Layout,
    /// Its number of outputs, if the net gives it.
    pub outputs: Option<usize>,
    /// Whether it has a bias.
    pub has_bias: bool,
    /// The layers that fold into it, in their order; at least one stage.
    pub stages: Vec<Stage>,
}

/// A BatchNorm or Scale layer that does not fold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFolded {
    /// The layer's number in the net.
    pub layer: usize,
    /// The layer's line.
    pub line: usize,
    /// The layer's name.
    pub name: BString,
    /// The layer's type.
    pub kind: BString,
    /// Why it does not fold.
    pub reason: String,
}

impl NotFolded {
    /// Layer `layer` of `net`, and why it does not fold.
    pub fn of(net: &Net, layer: usize, reason: String) -> NotFolded {
        let Layer { line, name, kind, .. } = &net.layers[layer];
        NotFolded { layer, line: *line, name: name.clone(), kind: kind.clone(), reason }
    }
}

/// What folds in a net, and what does not.
#[derive(Clone, Debug)]
pub struct Chains {
    /// The net.
    pub net: Net,
    /// The chains, in the order of their first layers.
    pub chains: Vec<Chain>,
    /// The BatchNorm and Scale layers that are in no chain, in the net's order.
    pub left: Vec<NotFolded>,
}

impl Chain {
    /// The numbers in the net of the layers that fold into the layer with weights.
    pub fn folded_layers(&self) -> impl Iterator<Item = usize> {
        self.stages.iter().flat_map(|stage| stage.layers.iter().copied())
    }

    /// The name of the blob that the chain makes.
    pub fn top<'n>(&self, net: &'n Net) -> &'n BString {
        let last = self.stages.last().map_or(self.layer, |stage| stage.layers[0]);
        &net.layers[last].tops[0].name
    }
}

/// The name of the message that holds `bias_term`.
fn param_name(kind: &[u8]) -> &'static str {
    if kind == b"InnerProduct" { "inner_product_param" } else { "convolution_param" }
}
