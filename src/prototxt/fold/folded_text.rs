//! The text of a net with its chains folded.

use std::collections::HashSet;

use super::{Affine, Chain, Stage, param_name};
use crate::prototxt::net::{Net, remove_layers};
use crate::prototxt::text::{Document, Edits, Field, Id, Kind, renamed};

/// The text of the document with these chains folded: without the layers of their stages, and with a bias in each layer
/// with weights.
pub fn fold_text(document: &Document, net: &Net, chains: &[Chain]) -> Vec<u8> {
    let mut edits = Edits::default();
    let folded: HashSet<Id> = chains.iter().flat_map(Chain::folded_layers).map(|layer| net.layers[layer].id).collect();
    remove_layers(document, document.field(net.id), &folded, &mut edits);

    for chain in chains {
        let layer = &net.layers[chain.layer];
        let (top, last) = (&layer.tops[0], chain.top(net));
        if top.name != *last {
            let value = document.field(top.id);
            edits.replace(value.value_range(), renamed(value, last));
        }
        if !chain.has_bias {
            add_bias(document, net, chain, &mut edits);
        }
    }
    edits.apply(document.as_bytes())
}

/// Gives a layer a bias, and the bias a `param`: with lr_mult 0 where the layer's weights are fixed; otherwise that of the
/// bias of the last folded Scale layer.
fn add_bias(document: &Document, net: &Net, chain: &Chain, edits: &mut Edits) {
    let layer = &net.layers[chain.layer];
    let message = document.field(layer.id);
    let param = message.first(param_name(&layer.kind));
    for field in param.into_iter().flat_map(|param| param.all("bias_term")) {
        edits.replace(field.value_range(), "true");
    }
    let params: Vec<Field<'_>> = message.children().filter(|field| field.name() == b"param").collect();
    let [weights] = params.as_slice() else { return };
    if weights.kind() != Kind::Message {
        return;
    }
    let rate = weights.first("lr_mult").and_then(|value| value.number::<f64>());
    let text = if rate == Some(0.0) {
        b"param { lr_mult: 0 decay_mult: 0 }".to_vec()
    } else {
        let is_scale = |stage: &&Stage| matches!(stage.affine, Affine::Scale { bias: true });
        let Some(scale) = chain.stages.iter().rfind(is_scale) else { return };
        let of_bias = document.field(net.layers[scale.layers[0]].id).children().filter(|f| f.name() == b"param").nth(1);
        match of_bias {
            Some(field) if field.kind() == Kind::Message && field.first("name").is_none() => {
                document.as_bytes()[field.range()].to_vec()
            }
            _ => return,
        }
    };
    let gap = &document.as_bytes()[weights.gap()];
    let space = match gap.iter().rposition(|&b| b == b'\n') {
        Some(newline) if gap[newline..].iter().all(u8::is_ascii_whitespace) => {
            let is_dos = newline > 0 && gap[newline - 1] == b'\r';
            [if is_dos { b"\r".as_slice() } else { b"" }, &gap[newline..]].concat()
        }
        _ => b" ".to_vec(),
    };
    let end = weights.range().end;
    edits.replace(end..end, [space, text].concat());
}
