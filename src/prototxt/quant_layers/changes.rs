//! The changes that add_quant and strip_quant make to a net, and the one place that writes them.

use std::collections::HashSet;

use bstr::BString;

use super::layer_text::{Added, LayerText};
use crate::prototxt::net::{Net, Port, remove_layers};
use crate::prototxt::text::{Document, Edits, Id, Place, removal, renamed};
use crate::quant::Bits;

/// One change to a net's text. Layers and bottoms are given by their numbers in the net.
#[derive(Debug)]
pub(super) enum Change {
    /// A new Quant layer in front of layer `before`.
    AddQuant { before: usize, quant: Added },
    /// The text of an existing layer moves in front of layer `before`.
    MoveLayer { layer: usize, before: usize },
    /// A layer's text is removed.
    RemoveLayer { layer: usize },
    /// A bottom reads another blob.
    Rewire { bottom: Port, blob: BString },
    /// The net gets a `weight_quant_param`, in front of one of its fields.
    AddWeightParam { before: Id, bits: Bits, is_folded: bool },
    /// A layer gets a `quant_param` for its weights, in front of one of its fields; without `bits` they stay float.
    AddLayerParam { layer: usize, before: Id, bits: Option<Bits> },
    /// A field is removed.
    RemoveField { field: Id },
}

impl Change {
    /// The first layer that the change concerns, if it is a change to layers' order or blobs.
    pub(super) fn layer(&self) -> Option<usize> {
        match self {
            Change::AddQuant { before, .. } | Change::MoveLayer { before, .. } => Some(*before),
            Change::Rewire { bottom, .. } => Some(bottom.0),
            _ => None,
        }
    }

    /// The Quant layer that the change adds, if it adds one.
    pub(super) fn into_added(self) -> Option<Added> {
        match self {
            Change::AddQuant { quant, .. } => Some(quant),
            _ => None,
        }
    }
}

/// Adds `changes` to the edits of the net's document. Insertions at one place come in the order of the list.
pub(super) fn write(document: &Document, net: &Net, changes: &[Change], edits: &mut Edits) {
    let message = |layer: usize| document.field(net.layers[layer].id);
    let style = |layer: usize| LayerText::like(document, message(layer));
    let mut removed: HashSet<Id> = HashSet::new();
    // The last layer in front of which something was inserted, with its place and style. They are found in the layer's
    // whole text, and a layer may have many Quant layers in front of it.
    let mut last: Option<(usize, Place, LayerText)> = None;
    let mut in_front_of = |layer: usize| -> (Place, LayerText) {
        let known = last.take().filter(|(known, ..)| *known == layer);
        let (_, place, style) =
            last.insert(known.unwrap_or_else(|| (layer, Place::before(document, message(layer)), style(layer))));
        (place.clone(), style.clone())
    };

    for change in changes {
        match change {
            Change::AddQuant { before, quant } => {
                let (place, style) = in_front_of(*before);
                edits.insert(place.at, style.quant_layer(&place, quant));
            }
            Change::MoveLayer { layer, before } => {
                let (place, style) = in_front_of(*before);
                edits.insert(place.at, style.moved_layer(&place, message(*layer)));
                removed.insert(net.layers[*layer].id);
            }
            Change::RemoveLayer { layer } => {
                removed.insert(net.layers[*layer].id);
            }
            Change::Rewire { bottom: (layer, bottom), blob } => {
                let value = document.field(net.layers[*layer].bottoms[*bottom].id);
                edits.replace(value.value_range(), renamed(value, blob));
            }
            Change::AddWeightParam { before, bits, is_folded } => {
                let place = Place::before(document, document.field(*before));
                edits.insert(place.at, style(0).weight_quant_param(&place, *bits, *is_folded));
            }
            Change::AddLayerParam { layer, before, bits } => {
                let place = Place::before(document, document.field(*before));
                edits.insert(place.at, style(*layer).layer_quant_param(&place, *bits));
            }
            Change::RemoveField { field } => {
                edits.replace(removal(document, document.field(*field)), Vec::new());
            }
        }
    }

    if !removed.is_empty() {
        remove_layers(document, document.field(net.id), &removed, edits);
    }
}
