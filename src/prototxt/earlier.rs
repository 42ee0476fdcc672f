//! The Quant layers that a net has already.

use std::collections::HashMap;

use bstr::BString;

use super::QUANT;
use super::document::Document;
use super::net::{Net, Port, Producer, StateSet, Wire, Wiring};
use super::weights::Options;
use crate::quant::Bits;

/// How many Quant layers of one version are looked at: no net that works has more than a few.
const RECENT: usize = 64;

/// The Quant layers that a net has already.
pub(super) struct Earlier<'a> {
    net: &'a Net,
    options: HashMap<usize, Options>,
    /// Those that others could read as well, by the version they read and their width: layer and pair, in order.
    shareable: HashMap<(Producer, u32), Vec<Port>>,
}

impl<'a> Earlier<'a> {
    pub fn of(net: &'a Net, wiring: &Wiring, document: &Document) -> Earlier<'a> {
        let mut makers: HashMap<&BString, usize> = HashMap::new();
        for top in net.layers.iter().flat_map(|layer| &layer.tops) {
            *makers.entry(&top.name).or_default() += 1;
        }
        let mut earlier = Earlier { net, options: HashMap::new(), shareable: HashMap::new() };
        for (number, layer) in net.layers.iter().enumerate().filter(|(_, layer)| layer.kind == QUANT) {
            let options = Options::read(document.field(layer.id).first("quant_param"));
            for (pair, (_, top)) in layer.bottoms.iter().zip(&layer.tops).enumerate() {
                if !layer.is_in_place(pair) && makers[&top.name] == 1 {
                    for source in &wiring.wire(number, pair).sources {
                        earlier.shareable.entry((source.producer, options.width())).or_default().push((number, pair));
                    }
                }
            }
            earlier.options.insert(number, options);
        }
        earlier
    }

    /// The Quant layers that make what a bottom reads.
    pub fn quants_of(&self, wire: &Wire) -> impl Iterator<Item = &Options> {
        wire.sources.iter().filter_map(|source| self.options.get(&source.producer.layer()?))
    }

    /// Whether a Quant makes what a bottom reads, in some state at least: another one could not tell states apart.
    pub fn feeds(&self, wire: &Wire) -> bool {
        self.quants_of(wire).next().is_some()
    }

    /// The top of a Quant that reads what a bottom of `layer` reads, in the same width, and that can feed it as well.
    pub fn usable(&self, wiring: &Wiring, layer: usize, wire: &Wire, bits: Bits) -> Option<&'a BString> {
        let first = wire.sources.first().filter(|_| wire.missing.is_empty())?;
        let candidates = self.shareable.get(&(first.producer, bits.number()))?;
        let serves = |&&(quant, pair): &&Port| {
            let theirs = &wiring.wire(quant, pair).sources;
            let covers = |states: &StateSet, producer| {
                theirs.iter().any(|s| s.producer == producer && states.is_within(&s.states))
            };
            wire.sources.iter().all(|source| covers(&source.states, source.producer))
        };
        let mut before = candidates.iter().take_while(|(quant, _)| *quant < layer).take(RECENT);
        before.find(serves).map(|&(quant, pair)| &self.net.layers[quant].tops[pair].name)
    }
}
