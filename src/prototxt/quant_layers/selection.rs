//! Which layers are to be quantised, and in how many bits: what the user's options select.

use std::collections::HashSet;

use globset::{Glob, GlobBuilder, GlobMatcher};

use crate::prototxt::net::Layer;
use crate::prototxt::nnie::{self, QUANT};
use crate::quant::Bits;

/// An invalid glob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{glob}` is not a glob: {reason}")]
pub struct BadGlob {
    glob: String,
    reason: String,
}

/// A layer type that cannot be selected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadType {
    /// The type is an empty string.
    #[error("an empty layer type: give types as in the prototxt, A,B")]
    Empty,
    /// The type is `Quant`.
    #[error("`{QUANT}` is the layer that quantises: it has no other in front of it")]
    Quant,
}

/// The layers whose bottoms are to be quantised, and their bit widths.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// The bit width of most layers; `None` where the user gave none, so that the net can decide.
    bits: Option<Bits>,
    /// Layer types besides those that the NNIE computes.
    types: Vec<String>,
    /// Globs for the names of layers that stay float.
    exclude: Vec<GlobMatcher>,
    /// Globs for the names of layers in 16 bits.
    sixteen: Vec<GlobMatcher>,
}

impl Selection {
    /// Every layer of a type in [`nnie::COMPUTED`], in `bits`; those with names that end in `_hp` in 16 bits.
    pub fn new(bits: Bits) -> Selection {
        Selection { bits: Some(bits), types: Vec::new(), exclude: Vec::new(), sixteen: Vec::new() }
    }

    /// Also selects layers of these types. Spaces around a type are ignored.
    ///
    /// # Errors
    /// [`BadType`] for the first type that cannot be selected.
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

    /// Leaves out the layers whose names match one of these globs.
    ///
    /// # Errors
    /// [`BadGlob`] for the first invalid glob.
    pub fn without(mut self, globs: &[String]) -> Result<Selection, BadGlob> {
        self.exclude.extend(compile(globs)?);
        Ok(self)
    }

    /// Selects 16 bits for the layers whose names match one of these globs.
    ///
    /// # Errors
    /// [`BadGlob`] for the first invalid glob.
    pub fn with_sixteen(mut self, globs: &[String]) -> Result<Selection, BadGlob> {
        self.sixteen.extend(compile(globs)?);
        Ok(self)
    }

    /// The same selection with `bits` as the width of most layers, unless it has one already.
    #[must_use]
    pub fn or_bits(mut self, bits: Option<Bits>) -> Selection {
        self.bits = self.bits.or(bits);
        self
    }

    /// The bit width of most layers; 8 by default.
    pub fn bits(&self) -> Bits {
        self.bits.unwrap_or(Bits::Eight)
    }

    /// Whether layers of this type are selected.
    pub fn has_type(&self, kind: &[u8]) -> bool {
        nnie::is_computed(kind) || self.types.iter().any(|t| t.as_bytes() == kind)
    }

    /// The bit width in which a layer is to be computed; `None` for a layer that is not selected.
    pub fn width_of(&self, layer: &Layer) -> Option<Bits> {
        let name = String::from_utf8_lossy(&layer.name);
        let matches = |globs: &[GlobMatcher]| globs.iter().any(|glob| glob.is_match(name.as_ref()));
        if !self.has_type(&layer.kind) || matches(&self.exclude) {
            return None;
        }

        let sixteen = nnie::is_high_precision(layer) || matches(&self.sixteen);
        Some(if sixteen { Bits::Sixteen } else { self.bits() })
    }

    /// The selected types that no layer has.
    pub fn unused_types<'a>(&'a self, layers: &[&Layer]) -> Vec<&'a str> {
        let kinds: HashSet<&[u8]> = layers.iter().map(|layer| layer.kind.as_slice()).collect();
        self.types.iter().map(String::as_str).filter(|kind| !kinds.contains(kind.as_bytes())).collect()
    }

    /// The globs that match no layer's name: most likely typing mistakes.
    pub fn unused_globs<'a>(&'a self, layers: &[&Layer]) -> Vec<&'a str> {
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
        // A layer's name is not a path: `inception_3a*` shall match `inception_3a/1x1`.
        let built: Result<Glob, _> = GlobBuilder::new(glob).literal_separator(false).backslash_escape(true).build();
        built
            .map(|glob| glob.compile_matcher())
            .map_err(|error| BadGlob { glob: glob.clone(), reason: error.kind().to_string() })
    };
    globs.iter().map(one).collect()
}
