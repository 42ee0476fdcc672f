//! Removing Quant layers, to get the float net that the NNIE compiler takes.
//!
//! The text around a Quant layer decides what is removed with it, so that what [`super::add_quant`] added is removed to the
//! byte. A Quant layer that was added by hand is removed too: its readers then read what it read.

use std::collections::HashMap;

use bstr::BString;

use super::changes::{self, Change};
use crate::prototxt::error::EditError;
use crate::prototxt::net::{Net, Port, Producer, Source, StateSet, Wiring};
use crate::prototxt::nnie::QUANT;
use crate::prototxt::text::{Document, Edits, Id};

/// A document without Quant layers, and an account of what was removed.
#[derive(Clone, Debug, Default)]
pub struct Stripped {
    /// The new text.
    pub text: Vec<u8>,
    /// The names of the removed layers.
    pub removed: Vec<BString>,
    /// How many bottoms read another blob than before.
    pub rewired: usize,
    /// Whether a `weight_quant_param`, or a layer's `quant_param` for its weights, was removed.
    pub weights: bool,
    /// How many nets the document holds; 0 for a solver that names its net.
    pub nets: usize,
    /// What the user should look at.
    pub warnings: Vec<String>,
}

/// Removes every Quant layer, `weight_quant_param`, and the `quant_param` of other layers: only a patched Caffe knows them.
///
/// # Errors
/// Those of [`Net::all`]; [`EditError::Stuck`] if the net without a Quant layer would not compute the same.
pub fn strip_quant(document: &Document) -> Result<Stripped, EditError> {
    let nets = Net::all(document)?;
    let mut edits = Edits::default();
    let mut result = Stripped { nets: nets.len(), ..Stripped::default() };

    for net in &nets {
        let rewirings = rewirings(net, document)?;
        result.rewired += rewirings.len();
        let mut changes: Vec<Change> =
            rewirings.into_iter().map(|(bottom, blob)| Change::Rewire { bottom, blob }).collect();
        result.warnings.extend(lost_outputs(net));

        for (number, layer) in net.layers.iter().enumerate().filter(|(_, layer)| layer.kind == QUANT) {
            changes.push(Change::RemoveLayer { layer: number });
            result.removed.push(layer.name.clone());
        }

        let fields_named = |id: Id, name: &'static str| {
            document.field(id).children().filter(move |field| field.name() == name.as_bytes())
        };
        let other_layers = net.layers.iter().filter(|layer| layer.kind != QUANT);
        let of_layers = other_layers.flat_map(|layer| fields_named(layer.id, "quant_param"));
        for field in fields_named(net.id, "weight_quant_param").chain(of_layers) {
            changes.push(Change::RemoveField { field: field.id() });
            result.weights = true;
        }

        changes::write(document, net, &changes, &mut edits);
    }
    result.text = edits.apply(document.as_bytes());
    Ok(result)
}

/// A warning for each top of a Quant layer that is an output of the net: a program that looks for the output by this name
/// no longer finds it.
fn lost_outputs(net: &Net) -> Vec<String> {
    let wiring = net.wiring();
    let mut lost = Vec::new();
    for (number, layer) in net.layers.iter().enumerate().filter(|(_, layer)| layer.kind == QUANT) {
        for (top, (made, read)) in layer.tops.iter().zip(&layer.bottoms).enumerate() {
            if made.name != read.name && wiring.readers(Producer::Top { layer: number, top }).is_empty() {
                lost.push(format!(
                    "the net's output `{}` is gone with `{}`: it is `{}` now",
                    made.name, layer.name, read.name
                ));
            }
        }
    }
    lost
}

/// The bottoms that read the top of a Quant layer, and the blobs that they read without it.
fn rewirings(net: &Net, document: &Document) -> Result<Vec<(Port, BString)>, EditError> {
    if !net.layers.iter().any(|layer| layer.kind == QUANT) {
        return Ok(Vec::new());
    }
    let wiring = net.wiring();

    let stuck = |quant: usize, reason: String| {
        let layer = &net.layers[quant];
        let message = format!("Quant layer `{}` cannot be taken out: {reason}", layer.name);
        EditError::Stuck { at: Box::new(document.error_at(document.field(layer.id), message)), reason }
    };
    for (number, layer) in net.layers.iter().enumerate().filter(|(_, layer)| layer.kind == QUANT) {
        if layer.bottoms.len() != layer.tops.len() {
            let (bottoms, tops) = (layer.bottoms.len(), layer.tops.len());
            return Err(stuck(number, format!("it has {bottoms} bottom(s) and {tops} top(s), which should be pairs")));
        }
    }

    let origins = Origins::of_quants(net, &wiring);
    let mut plain = net.clone();
    let mut rewirings = Vec::new();
    let mut expected = Vec::new();
    for (number, layer) in net.layers.iter().enumerate().filter(|(_, layer)| layer.kind != QUANT) {
        for bottom in 0..layer.bottoms.len() {
            let wire = wiring.wire(number, bottom);
            let Some(quant) = wire.sources.iter().find_map(|source| quant_of(net, source.producer)) else { continue };
            let (name, sources) = origins.behind((number, bottom)).ok_or_else(|| {
                let reason = format!(
                    "`{}` reads another blob behind it in another phase; give it one layer per phase",
                    layer.name
                );
                stuck(quant.0, reason)
            })?;
            if name != layer.bottoms[bottom].name {
                plain.layers[number].bottoms[bottom].name.clone_from(&name);
                rewirings.push(((number, bottom), name));
            }
            expected.push(((number, bottom), quant.0, sources));
        }
    }

    // The net without Quant layers must read the same versions: a name may by then hold another one.
    for layer in plain.layers.iter_mut().filter(|layer| layer.kind == QUANT) {
        layer.bottoms.clear();
        layer.tops.clear();
    }
    let after = plain.wiring();
    for ((layer, bottom), quant, sources) in expected {
        let now = &after.wire(layer, bottom).sources;
        if !same(now, &sources) {
            let name = &plain.layers[layer].bottoms[bottom].name;
            let reader = &net.layers[layer].name;
            let reason = format!(
                "`{name}` is written over in place before `{reader}` would read it; give that layer a top of its own"
            );
            return Err(stuck(quant, reason));
        }
    }
    Ok(rewirings)
}

/// The Quant layer that made a version, and the number of its pair of bottom and top.
fn quant_of(net: &Net, producer: Producer) -> Option<(usize, usize)> {
    match producer {
        Producer::Top { layer, top } if net.layers[layer].kind == QUANT => Some((layer, top)),
        _ => None,
    }
}

/// For each pair of bottom and top of a Quant layer, the versions that it would pass on if no layer were a Quant layer.
struct Origins<'a> {
    net: &'a Net,
    wiring: &'a Wiring,
    pairs: HashMap<(usize, usize), Vec<Origin<'a>>>,
}

/// A version that no Quant layer made, the states in which it is read, and the name by which it is read.
#[derive(Clone)]
struct Origin<'a> {
    /// What made the version; `None` where nothing makes the blob.
    producer: Option<Producer>,
    states: StateSet,
    name: &'a BString,
}

impl<'a> Origins<'a> {
    fn of_quants(net: &'a Net, wiring: &'a Wiring) -> Origins<'a> {
        let mut all = Origins { net, wiring, pairs: HashMap::new() };
        // In the order of the layers, so that the origins of what a Quant layer reads are known before it.
        for (quant, layer) in net.layers.iter().enumerate().filter(|(_, layer)| layer.kind == QUANT) {
            for (pair, blob) in layer.bottoms.iter().enumerate() {
                let missing = wiring.wire(quant, pair).missing.clone();
                let mut origins = all.origins((quant, pair));
                if !missing.is_empty() {
                    origins.push(Origin { producer: None, states: missing, name: &blob.name });
                }
                all.pairs.insert((quant, pair), origins);
            }
        }
        all
    }

    fn origins(&self, (layer, bottom): Port) -> Vec<Origin<'a>> {
        let name = &self.net.layers[layer].bottoms[bottom].name;
        let mut origins = Vec::new();
        for Source { producer, states } in &self.wiring.wire(layer, bottom).sources {
            match quant_of(self.net, *producer) {
                None => origins.push(Origin { producer: Some(*producer), states: states.clone(), name }),
                Some(pair) => {
                    let there = self.pairs[&pair].iter().filter(|origin| origin.states.meets(states));
                    origins.extend(there.map(|origin| Origin { states: origin.states.and(states), ..origin.clone() }));
                }
            }
        }
        origins
    }

    /// What a bottom reads without Quant layers: the blob's name, and the versions with their states. `None` if it would
    /// have to read different names in different states.
    fn behind(&self, (layer, bottom): Port) -> Option<(BString, Vec<(Producer, StateSet)>)> {
        let origins = self.origins((layer, bottom));
        let name = origins.first().map_or(&self.net.layers[layer].bottoms[bottom].name, |origin| origin.name);
        let is_one = origins.iter().all(|origin| origin.name == name);
        let made = origins.iter().filter_map(|origin| Some((origin.producer?, origin.states.clone())));
        is_one.then(|| (name.clone(), made.collect()))
    }
}

/// Whether a bottom reads exactly the expected versions in the expected states.
fn same(now: &[Source], expected: &[(Producer, StateSet)]) -> bool {
    let all_there = expected.iter().all(|(producer, states)| {
        now.iter().any(|source| source.producer == *producer && states.is_within(&source.states))
    });
    all_there && now.iter().all(|source| expected.iter().any(|(producer, _)| *producer == source.producer))
}
