//! Which layers the NNIE computes, and in how many bits.

use std::collections::HashSet;

use globset::{Glob, GlobBuilder, GlobMatcher};

use super::QUANT;
use super::net::Layer;
use crate::quant::Bits;

/// The types that the NNIE computes in 8 or 16 bit; the later ones are names that Caffe forks give a depthwise
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

/// The NNIE compiler's mark for a layer computed in 16 bit.
pub(super) const HIGH_PRECISION: &[u8] = b"_hp";

/// Whether the NNIE computes layers of this type, with weights.
pub fn has_weights(kind: &[u8]) -> bool {
    kind != b"Pooling" && COMPUTED.iter().any(|computed| computed.as_bytes() == kind)
}

/// A glob that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{glob}` is not a glob: {reason}")]
pub struct BadGlob {
    glob: String,
    reason: String,
}

/// A type that cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadType {
    /// None at all.
    #[error("an empty layer type: give types as in the prototxt, A,B")]
    Empty,
    /// The quantiser's own.
    #[error("`{QUANT}` is the layer that quantises: it has no other in front of it")]
    Quant,
}

/// Layers to quantise in front of, and their widths.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// `None` where the net may say.
    bits: Option<Bits>,
    types: Vec<String>,
    exclude: Vec<GlobMatcher>,
    sixteen: Vec<GlobMatcher>,
}

impl Selection {
    /// Every layer of the [`COMPUTED`] types, in `bits`; those named `…_hp` in 16.
    pub fn new(bits: Bits) -> Selection {
        Selection { bits: Some(bits), types: Vec::new(), exclude: Vec::new(), sixteen: Vec::new() }
    }

    /// Layers of these types, too; space around them is not theirs.
    ///
    /// # Errors
    /// The type that is none.
    pub fn with_types(mut self, types: &[String]) -> Result<Selection, BadType> {
        for kind in types.iter().map(|kind| kind.trim()) {
            match kind {
                "" => return Err(BadType::Empty),
                QUANT => return Err(BadType::Quant),
                _ => self.types.push(kind.to_owned()),
            }
        }
        Ok(self)
    }

    /// Not the layers whose names match one of these globs.
    ///
    /// # Errors
    /// The glob that is none.
    pub fn without(mut self, globs: &[String]) -> Result<Selection, BadGlob> {
        self.exclude.extend(compile(globs)?);
        Ok(self)
    }

    /// The layers whose names match one of these globs in 16 bit.
    ///
    /// # Errors
    /// The glob that is none.
    pub fn with_sixteen(mut self, globs: &[String]) -> Result<Selection, BadGlob> {
        self.sixteen.extend(compile(globs)?);
        Ok(self)
    }

    /// The same in the width that a net asks for, where none was given.
    #[must_use]
    pub fn or_bits(mut self, bits: Option<Bits>) -> Selection {
        self.bits = self.bits.or(bits);
        self
    }

    /// The width of most layers; 8 where none was given.
    pub fn bits(&self) -> Bits {
        self.bits.unwrap_or(Bits::Eight)
    }

    /// Whether the NNIE computes layers of this type.
    pub fn has_type(&self, kind: &[u8]) -> bool {
        COMPUTED.iter().any(|t| t.as_bytes() == kind) || self.types.iter().any(|t| t.as_bytes() == kind)
    }

    /// The width in which a layer is to be computed, `None` for one to be left alone.
    pub fn width_of(&self, layer: &Layer) -> Option<Bits> {
        let name = String::from_utf8_lossy(&layer.name);
        let matches = |globs: &[GlobMatcher]| globs.iter().any(|glob| glob.is_match(name.as_ref()));
        if !self.has_type(&layer.kind) || matches(&self.exclude) {
            return None;
        }
        let sixteen = layer.name.ends_with(HIGH_PRECISION) || matches(&self.sixteen);
        Some(if sixteen { Bits::Sixteen } else { self.bits() })
    }

    /// The types that no layer has.
    pub fn idle_types<'a>(&'a self, layers: &[&Layer]) -> Vec<&'a str> {
        let kinds: HashSet<&[u8]> = layers.iter().map(|layer| layer.kind.as_slice()).collect();
        self.types.iter().map(String::as_str).filter(|kind| !kinds.contains(kind.as_bytes())).collect()
    }

    /// The globs that match no layer's name: mistyped, most likely.
    pub fn idle_globs<'a>(&'a self, layers: &[&Layer]) -> Vec<&'a str> {
        let names: Vec<_> = layers.iter().map(|layer| String::from_utf8_lossy(&layer.name)).collect();
        let globs = self.exclude.iter().chain(&self.sixteen);
        globs
            .filter(|glob| !names.iter().any(|name| glob.is_match(name.as_ref())))
            .map(|glob| glob.glob().glob())
            .collect()
    }
}

fn compile(globs: &[String]) -> Result<Vec<GlobMatcher>, BadGlob> {
    let one = |glob: &String| {
        // A layer's name is no path: `inception_3a*` is meant to match `inception_3a/1x1`.
        let built: Result<Glob, _> = GlobBuilder::new(glob).literal_separator(false).backslash_escape(true).build();
        built
            .map(|glob| glob.compile_matcher())
            .map_err(|error| BadGlob { glob: glob.clone(), reason: error.kind().to_string() })
    };
    globs.iter().map(one).collect()
}
