//! The Quant layers that a net has already.

use std::collections::HashMap;

use bstr::BString;

use super::QUANT;
use super::document::Document;
use super::net::{Net, Port, Producer, Source, StateSet, Wire, Wiring};
use super::weights::Options;
use crate::quant::Bits;

/// How many Quant layers of one version are looked at: no net that works has more than a few.
const RECENT: usize = 64;

/// The Quant layers that a net has already.
pub(super) struct Earlier<'a> {
    net: &'a Net,
    document: &'a Document,
    options: HashMap<usize, Options>,
    /// Those that others could read as well and that are not switched off, by the version they read and their width:
    /// layer and pair, in order.
    shareable: HashMap<(Producer, u32), Vec<Port>>,
    /// By a blob's name, the first layer that reads it.
    first_reader: HashMap<&'a BString, usize>,
    /// Those that are to stand before another reader.
    moved: HashMap<usize, Port>,
}

impl<'a> Earlier<'a> {
    pub fn of(net: &'a Net, wiring: &Wiring, document: &'a Document) -> Earlier<'a> {
        let mut earlier = Earlier {
            net,
            document,
            options: HashMap::new(),
            shareable: HashMap::new(),
            first_reader: HashMap::new(),
            moved: HashMap::new(),
        };
        let mut makers: HashMap<&BString, usize> = HashMap::new();
        for (number, layer) in net.layers.iter().enumerate() {
            for blob in &layer.bottoms {
                earlier.first_reader.entry(&blob.name).or_insert(number);
            }
            for top in &layer.tops {
                *makers.entry(&top.name).or_default() += 1;
            }
        }
        for (number, layer) in net.layers.iter().enumerate().filter(|(_, layer)| layer.kind == QUANT) {
            let options = Options::read(document.field(layer.id).first("quant_param"));
            for (pair, (_, top)) in layer.bottoms.iter().zip(&layer.tops).enumerate() {
                if !options.is_off && !layer.is_in_place(pair) && makers[&top.name] == 1 {
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
    pub fn quants_of(&self, wire: &Wire) -> impl Iterator<Item = (usize, &Options)> {
        let layers = wire.sources.iter().filter_map(|source| source.producer.layer());
        layers.filter_map(|layer| Some((layer, self.options.get(&layer)?)))
    }

    /// Whether a Quant, be it switched off, makes what a bottom reads, in some state at least.
    pub fn feeds(&self, wire: &Wire) -> bool {
        self.quants_of(wire).next().is_some()
    }

    /// The states in which something else does.
    pub fn floats(&self, wire: &Wire) -> Option<StateSet> {
        let is_quant = |producer: Producer| producer.layer().is_some_and(|layer| self.options.contains_key(&layer));
        let floats = wire.sources.iter().filter(|source| !is_quant(source.producer));
        floats.map(|source| source.states.clone()).reduce(|a, b| a.or(&b))
    }

    /// The top of a Quant that reads what a bottom reads, in the same width, and that can feed it as well, if need be
    /// from a place before it.
    pub fn share(&mut self, wiring: &Wiring, at: Port, bits: Bits) -> Option<&'a BString> {
        let net = self.net;
        let wire = wiring.wire(at.0, at.1);
        let candidates = self.alike(wire, bits).filter(|_| wire.missing.is_empty())?;
        let serves = |&&(quant, pair): &&Port| {
            let theirs = &wiring.wire(quant, pair).sources;
            let covers = |source: &Source| {
                theirs.iter().any(|s| s.producer == source.producer && source.states.is_within(&s.states))
            };
            wire.sources.iter().all(covers)
        };
        let (before, behind) = candidates.split_at(candidates.partition_point(|(quant, _)| *quant < at.0));
        let may_stand = |&&(quant, _): &&Port| self.moved.contains_key(&quant) || self.is_movable(wiring, quant, at.0);
        let found = before.iter().take(RECENT).find(serves);
        let found = found.or_else(|| behind.iter().take(RECENT).filter(serves).find(may_stand));
        let &(quant, pair) = found?;
        if quant > at.0 {
            self.moved.entry(quant).or_insert(at);
        }
        Some(&net.layers[quant].tops[pair].name)
    }

    /// The name of a Quant that reads the same in the same width, where a bottom in one of its states cannot share it.
    pub fn beside(&self, wiring: &Wiring, wire: &Wire, bits: Bits) -> Option<&'a BString> {
        let meets = |&&(quant, pair): &&Port| {
            let theirs = &wiring.wire(quant, pair).sources;
            let first = &wire.sources[0];
            theirs.iter().any(|source| source.producer == first.producer && source.states.meets(&first.states))
        };
        let found = self.alike(wire, bits)?.iter().take(RECENT).find(meets);
        found.map(|&(quant, _)| &self.net.layers[quant].name)
    }

    /// Those to be moved, and the reader before which they are to stand.
    pub fn into_moved(self) -> Vec<(usize, Port)> {
        self.moved.into_iter().collect()
    }

    fn alike(&self, wire: &Wire, bits: Bits) -> Option<&Vec<Port>> {
        self.shareable.get(&(wire.sources.first()?.producer, bits.number()))
    }

    /// Whether a Quant that stands behind `place` would do the same before it.
    fn is_movable(&self, wiring: &Wiring, quant: usize, place: usize) -> bool {
        let layer = &self.net.layers[quant];
        let ([_], [top]) = (layer.bottoms.as_slice(), layer.tops.as_slice()) else { return false };
        let is_item = |layer: usize| self.document.field(self.net.layers[layer].id).name().is_empty();
        let made_before = |source: &Source| source.producer.layer().is_none_or(|maker| maker < place);
        is_item(quant) == is_item(place)
            && self.first_reader.get(&top.name).is_none_or(|&reader| reader > quant)
            && wiring.wire(quant, 0).sources.iter().all(made_before)
    }
}
