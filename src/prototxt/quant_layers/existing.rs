//! The Quant layers that a net already has: which bottoms they feed, and which further bottoms could share them.

use std::collections::HashMap;

use bstr::BString;

use crate::prototxt::net::{Net, Port, Producer, Source, StateSet, Wire, Wiring};
use crate::prototxt::nnie::QUANT;
use crate::prototxt::text::Document;
use crate::quant::Bits;

/// How many Quant layers of one version of a blob are looked at. A net that works has only a few; the bound keeps a
/// malicious file from taking quadratic time.
const RECENT: usize = 64;

/// The Quant layers that a net already has.
pub(super) struct Existing<'a> {
    net: &'a Net,
    document: &'a Document,
    /// The Quant layers that other bottoms could read too: by the version that they read and their bit width, each as
    /// layer and pair of bottom and top, in the net's order. Those in place or switched off are not among them.
    shareable: HashMap<(Producer, u32), Vec<Port>>,
    /// For each blob's name, the first layer that reads it.
    first_reader: HashMap<&'a BString, usize>,
    /// The Quant layers that must move in front of an earlier reader, and that reader.
    moved: HashMap<usize, Port>,
}

impl<'a> Existing<'a> {
    pub(super) fn of(net: &'a Net, wiring: &Wiring, document: &'a Document) -> Existing<'a> {
        let mut existing =
            Existing { net, document, shareable: HashMap::new(), first_reader: HashMap::new(), moved: HashMap::new() };

        let mut makers: HashMap<&BString, usize> = HashMap::new();
        for (number, layer) in net.layers.iter().enumerate() {
            for blob in &layer.bottoms {
                existing.first_reader.entry(&blob.name).or_insert(number);
            }
            for top in &layer.tops {
                *makers.entry(&top.name).or_default() += 1;
            }
        }

        for (number, layer) in net.layers.iter().enumerate().filter(|(_, layer)| layer.kind == QUANT) {
            let own = layer.quant_param;
            for (pair, (_, top)) in layer.bottoms.iter().zip(&layer.tops).enumerate() {
                if !own.is_off && !layer.is_in_place(pair) && makers[&top.name] == 1 {
                    for source in &wiring.wire(number, pair).sources {
                        existing.shareable.entry((source.producer, own.width())).or_default().push((number, pair));
                    }
                }
            }
        }
        existing
    }

    /// The Quant layers that make what a bottom reads.
    pub(super) fn quants_of(&self, wire: &Wire) -> impl Iterator<Item = usize> {
        wire.sources.iter().filter_map(|source| source.producer.layer()).filter(|&layer| self.is_quant(layer))
    }

    /// Whether a Quant layer makes what a bottom reads, in some state at least. It may be switched off.
    pub(super) fn feeds(&self, wire: &Wire) -> bool {
        self.quants_of(wire).next().is_some()
    }

    /// The states in which something other than a Quant layer makes what a bottom reads.
    pub(super) fn float_states(&self, wire: &Wire) -> Option<StateSet> {
        let is_float = |source: &&Source| !source.producer.layer().is_some_and(|layer| self.is_quant(layer));
        wire.sources.iter().filter(is_float).map(|source| source.states.clone()).reduce(|a, b| a.or(&b))
    }

    /// The top of an existing Quant layer that can also feed a bottom: it reads the same versions in the same bit width. If
    /// it stands behind the bottom's layer, it is noted as one to move in front of it.
    pub(super) fn share(&mut self, wiring: &Wiring, at: Port, bits: Bits) -> Option<&'a BString> {
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
        let can_move = |&&(quant, _): &&Port| self.moved.contains_key(&quant) || self.is_movable(wiring, quant, at.0);

        let found = before.iter().take(RECENT).find(serves);
        let found = found.or_else(|| behind.iter().take(RECENT).filter(serves).find(can_move));
        let &(quant, pair) = found?;
        if quant > at.0 {
            self.moved.entry(quant).or_insert(at);
        }
        Some(&net.layers[quant].tops[pair].name)
    }

    /// The name of an existing Quant layer that reads the same version in the same bit width and in a common state, but
    /// that a bottom cannot share.
    pub(super) fn unshared(&self, wiring: &Wiring, wire: &Wire, bits: Bits) -> Option<&'a BString> {
        let meets = |&&(quant, pair): &&Port| {
            let theirs = &wiring.wire(quant, pair).sources;
            let first = &wire.sources[0];
            theirs.iter().any(|source| source.producer == first.producer && source.states.meets(&first.states))
        };
        let found = self.alike(wire, bits)?.iter().take(RECENT).find(meets);
        found.map(|&(quant, _)| &self.net.layers[quant].name)
    }

    /// The Quant layers to move, each with the reader in front of which it must stand.
    pub(super) fn into_moved(self) -> HashMap<usize, Port> {
        self.moved
    }

    fn is_quant(&self, layer: usize) -> bool {
        self.net.layers[layer].kind == QUANT
    }

    fn alike(&self, wire: &Wire, bits: Bits) -> Option<&Vec<Port>> {
        self.shareable.get(&(wire.sources.first()?.producer, bits.number()))
    }

    /// Whether a Quant layer that stands behind layer `place` would compute the same in front of it.
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
