//! The versions of each blob, as in SSA form: every top makes a new version of its blob, also where it writes over the
//! blob in place. A bottom reads the latest version in front of its layer, which may differ between states of the net.

use std::collections::HashMap;

use bstr::BStr;

use super::{Net, StateSet};

/// A bottom, given by its layer's number in the net and its own number in the layer.
pub type Port = (usize, usize);

/// What makes a version of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Producer {
    /// The net's `input` field with this number.
    Input(usize),
    /// A top of a layer.
    Top {
        /// The layer's number in the net.
        layer: usize,
        /// The top's number in the layer.
        top: usize,
    },
}

impl Producer {
    /// The layer's number; `None` for an input of the net.
    pub fn layer(self) -> Option<usize> {
        match self {
            Producer::Input(_) => None,
            Producer::Top { layer, .. } => Some(layer),
        }
    }
}

/// A version of a blob, and the states in which it is the one that a bottom reads.
#[derive(Clone, Debug)]
pub struct Source {
    /// What makes the version.
    pub producer: Producer,
    /// The states in which it is read.
    pub states: StateSet,
}

/// What a bottom reads.
#[derive(Clone, Debug)]
pub struct Wire {
    /// The versions. No two of them have a state in common.
    pub sources: Vec<Source>,
    /// The states of the layer in which nothing makes the blob.
    pub missing: StateSet,
}

impl Net {
    /// Which layer makes and which layers read each version of a blob.
    pub fn wiring(&self) -> Wiring {
        Wiring::of(self)
    }
}

/// Which layers make and read the blobs of a net.
#[derive(Clone, Debug)]
pub struct Wiring {
    /// What each bottom of each layer reads.
    bottoms: Vec<Vec<Wire>>,
    /// The bottoms that read each version.
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

    /// The bottoms that read a version, in the order of the layers.
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
