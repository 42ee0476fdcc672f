//! Quant layers taken out: the float net that the NNIE compiler wants.
//!
//! Whatever stands around a Quant layer's text decides what goes with it, so that what [`super::add_quant`] put in
//! leaves no byte behind; and a Quant layer put in by hand leaves a net in which its readers read what it read.

use std::collections::HashMap;

use bstr::BString;

use super::document::{Document, Id};
use super::edit::{Edits, removal, remove_layers};
use super::net::{Net, Port, Producer, Source, StateSet, Wiring};
use super::style::shortened;
use super::{EditError, QUANT};

/// A document without Quant layers.
#[derive(Clone, Debug)]
pub struct Stripped {
    /// The text.
    pub text: Vec<u8>,
    /// The names of the layers taken out.
    pub removed: Vec<BString>,
    /// Bottoms that read something else now.
    pub rewired: usize,
    /// Whether a `weight_quant_param`, or a layer's `quant_param` for its weights, was taken out.
    pub weights: bool,
    /// Nets in the document; 0 for a solver that names its net.
    pub nets: usize,
    /// What a user should look at.
    pub warnings: Vec<String>,
}

/// Takes out every Quant layer, `weight_quant_param`, and other layers' `quant_param`: another Caffe than a patched one
/// knows none of them.
///
/// # Errors
/// [`EditError::Empty`]; [`EditError::Stuck`] where the net without a Quant layer would not compute the same.
pub fn strip_quant(document: &Document) -> Result<Stripped, EditError> {
    if document.root().children().next().is_none() {
        return Err(EditError::Empty);
    }
    let nets = Net::all(document)?;
    let mut edits = Edits::default();
    let mut result = Stripped {
        text: Vec::new(),
        removed: Vec::new(),
        rewired: 0,
        weights: false,
        nets: nets.len(),
        warnings: Vec::new(),
    };
    for net in &nets {
        for ((layer, bottom), name) in rewirings(net, document)? {
            let value = document.field(net.layers[layer].bottoms[bottom].id);
            edits.replace(value.value_range(), shortened(value, &name));
            result.rewired += 1;
        }
        result.warnings.extend(lost_outputs(net));
        let quants = net.layers.iter().filter(|layer| layer.kind == QUANT).map(|layer| layer.id).collect();
        remove_layers(document, document.field(net.id), &quants, &mut edits);
        let quants = net.layers.iter().filter(|layer| layer.kind == QUANT);
        result.removed.extend(quants.map(|layer| layer.name.clone()));
        let named = |id: Id, name: &'static str| {
            document.field(id).children().filter(move |field| field.name() == name.as_bytes())
        };
        let floats = net.layers.iter().filter(|layer| layer.kind != QUANT);
        let of_layers = floats.flat_map(|layer| named(layer.id, "quant_param"));
        for field in named(net.id, "weight_quant_param").chain(of_layers) {
            edits.replace(removal(document, field), Vec::new());
            result.weights = true;
        }
    }
    result.text = edits.apply(document.as_bytes());
    Ok(result)
}

/// Quant layers' tops that are the net's outputs: nothing reads them, and who looks for them by name finds nothing.
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

/// The bottoms that read a Quant's top, and what they are to read.
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
    let behind = Behind::quants(net, &wiring);
    let mut plain = net.clone();
    let mut rewirings = Vec::new();
    let mut expected = Vec::new();
    for (number, layer) in net.layers.iter().enumerate().filter(|(_, layer)| layer.kind != QUANT) {
        for bottom in 0..layer.bottoms.len() {
            let wire = wiring.wire(number, bottom);
            let Some(quant) = wire.sources.iter().find_map(|source| quant_of(net, source.producer)) else { continue };
            let (name, sources) = behind.of((number, bottom)).ok_or_else(|| {
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

/// The Quant layer and the number of the pair that made a version.
fn quant_of(net: &Net, producer: Producer) -> Option<(usize, usize)> {
    match producer {
        Producer::Top { layer, top } if net.layers[layer].kind == QUANT => Some((layer, top)),
        _ => None,
    }
}

/// What lies behind each Quant layer's pairs when all Quant layers are looked through.
struct Behind<'a> {
    net: &'a Net,
    wiring: &'a Wiring,
    pairs: HashMap<(usize, usize), Vec<Origin<'a>>>,
}

/// A version that is no Quant's, `None` where nothing makes one, and the name it is read by.
#[derive(Clone)]
struct Origin<'a> {
    producer: Option<Producer>,
    states: StateSet,
    name: &'a BString,
}

impl<'a> Behind<'a> {
    fn quants(net: &'a Net, wiring: &'a Wiring) -> Behind<'a> {
        let mut behind = Behind { net, wiring, pairs: HashMap::new() };
        // In the layers' order: what a Quant reads is known before it.
        for (quant, layer) in net.layers.iter().enumerate().filter(|(_, layer)| layer.kind == QUANT) {
            for (pair, blob) in layer.bottoms.iter().enumerate() {
                let missing = wiring.wire(quant, pair).missing.clone();
                let mut origins = behind.origins((quant, pair));
                if !missing.is_empty() {
                    origins.push(Origin { producer: None, states: missing, name: &blob.name });
                }
                behind.pairs.insert((quant, pair), origins);
            }
        }
        behind
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

    /// What a bottom is to read: one name, and the versions; `None` where the name would have to be another in another
    /// state.
    fn of(&self, (layer, bottom): Port) -> Option<(BString, Vec<(Producer, StateSet)>)> {
        let origins = self.origins((layer, bottom));
        let name = origins.first().map_or(&self.net.layers[layer].bottoms[bottom].name, |origin| origin.name);
        let is_one = origins.iter().all(|origin| origin.name == name);
        let made = origins.iter().filter_map(|origin| Some((origin.producer?, origin.states.clone())));
        is_one.then(|| (name.clone(), made.collect()))
    }
}

/// Whether two lists name the same versions in the same states.
fn same(now: &[Source], expected: &[(Producer, StateSet)]) -> bool {
    let all_there = expected.iter().all(|(producer, states)| {
        now.iter().any(|source| source.producer == *producer && states.is_within(&source.states))
    });
    all_there && now.iter().all(|source| expected.iter().any(|(producer, _)| *producer == source.producer))
}
