//! Blobs as versions: each top is a new version of its blob, also where it writes over one, and each bottom reads the
//! version that is there when its layer's turn comes, which may be another one in another state.

use std::collections::HashMap;

use bstr::BStr;

use super::{Net, StateSet};

/// A bottom: its layer's number, and its own among that layer's.
pub type Port = (usize, usize);

/// What made a version of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Producer {
    /// The net's `input` field of this number.
    Input(usize),
    /// The top of this number of a layer.
    Top {
        /// The layer's number.
        layer: usize,
        /// The top's.
        top: usize,
    },
}

impl Producer {
    /// The layer's number, `None` for an input.
    pub fn layer(self) -> Option<usize> {
        match self {
            Producer::Input(_) => None,
            Producer::Top { layer, .. } => Some(layer),
        }
    }
}

/// A version, and the states in which it is the one that counts.
#[derive(Clone, Debug)]
pub struct Source {
    /// What made it.
    pub producer: Producer,
    /// Where.
    pub states: StateSet,
}

/// What a bottom reads.
#[derive(Clone, Debug)]
pub struct Wire {
    /// The versions; no two share a state.
    pub sources: Vec<Source>,
    /// The layer's states in which nothing makes the blob.
    pub missing: StateSet,
}

/// A net's blobs, made and read.
#[derive(Clone, Debug)]
pub struct Wiring {
    /// For each layer, for each of its bottoms.
    bottoms: Vec<Vec<Wire>>,
    readers: HashMap<Producer, Vec<Port>>,
}

impl Wiring {
    pub(super) fn of(net: &Net) -> Wiring {
        let everywhere = net.states.all();
        let mut versions: HashMap<&BStr, Vec<Source>> = HashMap::new();
        for (number, input) in net.inputs.iter().enumerate() {
            let source = Source { producer: Producer::Input(number), states: everywhere.clone() };
            versions.insert(input.name.as_ref(), vec![source]);
        }
        let mut bottoms = Vec::with_capacity(net.layers.len());
        let mut readers: HashMap<Producer, Vec<Port>> = HashMap::new();
        for (number, layer) in net.layers.iter().enumerate() {
            let wires: Vec<Wire> = layer
                .bottoms
                .iter()
                .map(|bottom| read(versions.get(AsRef::<BStr>::as_ref(&bottom.name)), &layer.states))
                .collect();
            for (bottom, wire) in wires.iter().enumerate() {
                for source in &wire.sources {
                    readers.entry(source.producer).or_default().push((number, bottom));
                }
            }
            bottoms.push(wires);
            for (top, blob) in layer.tops.iter().enumerate() {
                let current = versions.entry(blob.name.as_ref()).or_default();
                for source in current.iter_mut() {
                    source.states = source.states.without(&layer.states);
                }
                current.retain(|source| !source.states.is_empty());
                if !layer.states.is_empty() {
                    let producer = Producer::Top { layer: number, top };
                    current.push(Source { producer, states: layer.states.clone() });
                }
            }
        }
        Wiring { bottoms, readers }
    }

    /// What bottom `bottom` of layer `layer` reads.
    pub fn wire(&self, layer: usize, bottom: usize) -> &Wire {
        &self.bottoms[layer][bottom]
    }

    /// The bottoms that read a version: layer and bottom, in the layers' order.
    pub fn readers(&self, producer: Producer) -> &[Port] {
        self.readers.get(&producer).map_or(&[], Vec::as_slice)
    }
}

fn read(versions: Option<&Vec<Source>>, states: &StateSet) -> Wire {
    let mut missing = states.clone();
    let mut sources = Vec::new();
    for source in versions.into_iter().flatten() {
        let shared = source.states.and(states);
        if !shared.is_empty() {
            missing = missing.without(&shared);
            sources.push(Source { producer: source.producer, states: shared });
        }
    }
    Wire { sources, missing }
}
