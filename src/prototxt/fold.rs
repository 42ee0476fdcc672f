//! Which BatchNorm and Scale layers fold into the layer with weights before them, and the text of the net without them.
//!
//! A chain is a layer with weights and the BatchNorm and Scale layers behind it. Each must be the only reader of the layer
//! before it, in every state of the net. The layer with weights takes over the name of the last layer's top, so that the
//! chain's result keeps its name for its readers, and for users who look for an output by name.

use std::collections::HashSet;

use bstr::BString;

use super::error::EditError;
use super::net::{Layer, Net, Phase, Producer, Wiring, remove_layers};
use super::nnie::{QUANT, has_weights};
use super::text::{Document, Edits, Field, Id, Kind, renamed};

/// Where an output channel's weights lie in a layer's weight blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Along the blob's first axis: convolutions and inner products.
    Outermost,
    /// Along the blob's last axis: an inner product with `transpose: true`.
    Innermost,
    /// Deconvolution: the blob's shape is (inputs, outputs / groups, height, width).
    Deconvolution {
        /// The layer's `group`.
        groups: usize,
    },
}

/// The affine map that a layer applies to each channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Affine {
    /// `(x - mean) / sqrt(variance + eps)`
    BatchNorm {
        /// The layer's `eps`.
        eps: f32,
    },
    /// `x * gamma`, and `+ beta` if the layer has a bias.
    Scale {
        /// The layer's `bias_term`.
        bias: bool,
    },
}

/// One step of a chain: a layer, or several layers of one name that take part in different states of the net.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The layers' numbers in the net.
    pub layers: Vec<usize>,
    /// The map that they apply.
    pub affine: Affine,
}

/// A layer with weights, and the layers that fold into it.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The number in the net of the layer with weights.
    pub layer: usize,
    /// The layout of its weights.
    pub layout: Layout,
    /// Its number of outputs, if the net gives it.
    pub outputs: Option<usize>,
    /// Whether it has a bias.
    pub has_bias: bool,
    /// The layers that fold into it, in their order; at least one stage.
    pub stages: Vec<Stage>,
}

/// A BatchNorm or Scale layer that does not fold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFolded {
    /// The layer's number in the net.
    pub layer: usize,
    /// The layer's line.
    pub line: usize,
    /// The layer's name.
    pub name: BString,
    /// The layer's type.
    pub kind: BString,
    /// Why it does not fold.
    pub reason: String,
}

impl NotFolded {
    /// Layer `layer` of `net`, and why it does not fold.
    pub fn of(net: &Net, layer: usize, reason: String) -> NotFolded {
        let Layer { line, name, kind, .. } = &net.layers[layer];
        NotFolded { layer, line: *line, name: name.clone(), kind: kind.clone(), reason }
    }
}

/// What folds in a net, and what does not.
#[derive(Clone, Debug)]
pub struct Chains {
    /// The net.
    pub net: Net,
    /// The chains, in the order of their first layers.
    pub chains: Vec<Chain>,
    /// The BatchNorm and Scale layers that are in no chain, in the net's order.
    pub left: Vec<NotFolded>,
}

/// Finds the chains of a document's one net.
///
/// # Errors
/// Those of [`Net::only`].
pub fn chains(document: &Document) -> Result<Chains, EditError> {
    let net = Net::only(document)?;
    let finder = Finder { document, wiring: net.wiring(), net: &net };
    let mut chains = Vec::new();
    let mut left: Vec<NotFolded> = Vec::new();
    for (number, layer) in net.layers.iter().enumerate() {
        if has_weights(&layer.kind) && !layer.states.is_empty() {
            chains.extend(finder.chain(number, &mut left));
        }
    }

    let folded: HashSet<usize> = chains.iter().flat_map(Chain::folded_layers).collect();
    for number in 0..net.layers.len() {
        if finder.is_affine(number) && !folded.contains(&number) && !left.iter().any(|known| known.layer == number) {
            left.push(NotFolded::of(&net, number, finder.behind_no_weights(number)));
        }
    }
    left.sort_by_key(|layer| layer.layer);
    Ok(Chains { chains, left, net })
}

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

impl Chain {
    /// The numbers in the net of the layers that fold into the layer with weights.
    pub fn folded_layers(&self) -> impl Iterator<Item = usize> {
        self.stages.iter().flat_map(|stage| stage.layers.iter().copied())
    }

    /// The name of the blob that the chain makes.
    pub fn top<'n>(&self, net: &'n Net) -> &'n BString {
        let last = self.stages.last().map_or(self.layer, |stage| stage.layers[0]);
        &net.layers[last].tops[0].name
    }
}

struct Finder<'a> {
    document: &'a Document,
    net: &'a Net,
    wiring: Wiring,
}

impl Finder<'_> {
    /// The chain that begins at a layer with weights. The layers at which it stops are added to `left`.
    fn chain(&self, number: usize, left: &mut Vec<NotFolded>) -> Option<Chain> {
        let message = self.document.field(self.net.layers[number].id);
        let (mut chain, is_plain) = read_weights(number, message);
        loop {
            let ends = match chain.stages.last() {
                None => vec![number],
                Some(stage) => stage.layers.clone(),
            };

            let mut readers: Vec<usize> = ends
                .iter()
                .flat_map(|&layer| self.wiring.readers(Producer::Top { layer, top: 0 }))
                .map(|&(layer, _)| layer)
                .collect();
            readers.sort_unstable();
            readers.dedup();

            let (candidates, others): (Vec<usize>, Vec<usize>) =
                readers.into_iter().partition(|&layer| self.is_affine(layer));
            if candidates.is_empty() {
                break;
            }
            let stage =
                self.can_change(number, is_plain).and_then(|()| self.stage(&chain, &ends, &candidates, &others));
            match stage {
                Ok(stage) => chain.stages.push(stage),
                Err(reason) => {
                    left.extend(candidates.iter().map(|&layer| NotFolded::of(self.net, layer, reason.clone())));
                    break;
                }
            }
        }
        (!chain.stages.is_empty()).then_some(chain)
    }

    /// Whether a layer's weights may change: nothing else uses them, and their layout is known.
    fn can_change(&self, number: usize, is_plain: bool) -> Result<(), String> {
        let layers = &self.net.layers;
        let Layer { name, params, bottoms, tops, .. } = &layers[number];
        let others = || layers.iter().enumerate().filter(|&(other, _)| other != number).map(|(_, layer)| layer);

        if bottoms.len() != 1 || tops.len() != 1 {
            return Err(format!("`{name}` has {} bottoms and {} tops: one of each folds", bottoms.len(), tops.len()));
        }
        if !is_plain {
            return Err(format!("`{name}` has its channels on another axis than 1"));
        }
        if others().any(|other| other.name == *name) {
            return Err(format!("there is a second layer of the name `{name}`, which has the same weights"));
        }
        for param in params {
            if let Some(other) = others().find(|other| other.params.contains(param)) {
                return Err(format!("`{name}` shares its parameter `{param}` with `{}`", other.name));
            }
        }
        Ok(())
    }

    /// The chain's next stage, if `candidates` form one: they must be the only readers of what the layers `ends` make.
    fn stage(&self, chain: &Chain, ends: &[usize], candidates: &[usize], others: &[usize]) -> Result<Stage, String> {
        let layers = &self.net.layers;
        let first = &layers[candidates[0]];
        let blob = &layers[ends[0]].tops[0].name;
        let second =
            candidates.iter().find(|&&other| layers[other].name != first.name || layers[other].kind != first.kind);
        if let Some(&other) = others.first().or(second) {
            return Err(format!("`{blob}` is read by `{}`, too", layers[other].name));
        }

        let mut covered = first.states.clone();
        for &next in &candidates[1..] {
            if layers[next].states.meets(&covered) {
                return Err(format!("`{blob}` is read by `{}` twice", first.name));
            }
            covered = covered.or(&layers[next].states);
        }
        let missing = layers[chain.layer].states.without(&covered);
        if !missing.is_empty() {
            let states = self.net.states.describe(&missing);
            return Err(format!("it takes no part in {states}, where `{}` does", layers[chain.layer].name));
        }

        let affine = self.affine(candidates[0])?;
        for &number in candidates {
            let layer = &layers[number];
            if layer.tops.len() != 1 || layer.tops[0].name != first.tops[0].name || self.affine(number)? != affine {
                return Err("its layers in the net's phases differ".to_owned());
            }
            let wire = self.wiring.wire(number, 0);
            let is_ours = |producer: Producer| producer.layer().is_some_and(|layer| ends.contains(&layer));
            if !wire.missing.is_empty() || !wire.sources.iter().all(|source| is_ours(source.producer)) {
                return Err(format!("`{blob}` is made by another layer in another phase"));
            }
        }

        let stage = Stage { layers: candidates.to_vec(), affine };
        self.can_rename(chain, &stage)?;
        Ok(stage)
    }

    /// Whether the chain's first layer can make a blob with the name of the stage's top: between the two, no other layer
    /// may use that name.
    fn can_rename(&self, chain: &Chain, stage: &Stage) -> Result<(), String> {
        let layers = &self.net.layers;
        let first = &layers[chain.layer];
        let name = &layers[stage.layers[0]].tops[0].name;
        if first.tops[0].name == *name {
            return Ok(());
        }
        let last = stage.layers.iter().copied().max().unwrap_or(chain.layer);
        let own: Vec<usize> = chain.folded_layers().chain(stage.layers.iter().copied()).collect();
        let between = (chain.layer + 1..last).filter(|layer| !own.contains(layer)).map(|layer| &layers[layer]);
        let touches = |layer: &&Layer| layer.bottoms.iter().chain(&layer.tops).any(|blob| blob.name == *name);
        let user = between.clone().find(touches).or((first.bottoms[0].name == *name).then_some(first));
        match user {
            Some(user) => Err(format!("its top `{name}` is another blob where `{}` uses it", user.name)),
            None => Ok(()),
        }
    }

    fn is_affine(&self, number: usize) -> bool {
        let layer = &self.net.layers[number];
        (layer.kind == "BatchNorm" || layer.kind == "Scale") && layer.bottoms.len() == 1 && !layer.states.is_empty()
    }

    fn affine(&self, number: usize) -> Result<Affine, String> {
        let layer = &self.net.layers[number];
        let message = self.document.field(layer.id);
        if layer.kind == "Scale" {
            let param = message.first("scale_param");
            let number = |name| param.and_then(|param| param.first(name)).map_or(Some(1), |value| value.number());
            if number("axis") != Some(1i64) || number("num_axes") != Some(1) {
                return Err("it scales along other axes than the channels".to_owned());
            }
            let bias = param.and_then(|param| param.first("bias_term")).is_some_and(|value| value.is_true());
            return Ok(Affine::Scale { bias });
        }
        let param = message.first("batch_norm_param");
        let of = |name| param.and_then(|param| param.first(name));
        let in_test = layer.states.meets(&self.net.states.in_phase(Phase::Test));
        if in_test && of("use_global_stats").is_some_and(|value| !value.is_true()) {
            return Err("it has use_global_stats: false, so its statistics are each batch's own".to_owned());
        }
        let eps = of("eps").map_or(Some(1e-5), |value| value.number());
        eps.map(|eps| Affine::BatchNorm { eps }).ok_or_else(|| "its eps is no number".to_owned())
    }

    /// Why a layer is in no chain: what makes the blob that it reads.
    fn behind_no_weights(&self, number: usize) -> String {
        let blob = &self.net.layers[number].bottoms[0].name;
        let Some(source) = self.wiring.wire(number, 0).sources.first() else {
            return format!("nothing makes its `{blob}`");
        };
        match source.producer.layer().map(|layer| &self.net.layers[layer]) {
            None => format!("`{blob}` is the net's input"),
            Some(maker) if maker.kind == QUANT => format!("`{blob}` has been quantised by `{}`", maker.name),
            Some(maker) => format!("`{blob}` comes from `{}` ({}), not from weights", maker.name, maker.kind),
        }
    }
}

/// A chain without stages, and whether the layer's channels are on axis 1.
fn read_weights(number: usize, layer: Field<'_>) -> (Chain, bool) {
    let kind = layer.first("type").map(|kind| kind.string()).unwrap_or_default();
    let param = layer.first(param_name(&kind));
    let of = |name| param.and_then(|param| param.first(name));
    let layout = if kind == "Deconvolution" {
        Layout::Deconvolution { groups: of("group").and_then(|value| value.number()).unwrap_or(1) }
    } else if kind == "InnerProduct" && of("transpose").is_some_and(|value| value.is_true()) {
        Layout::Innermost
    } else {
        Layout::Outermost
    };
    let axis = of("axis").map_or(Some(1i64), |value| value.number());
    let outputs = of("num_output").and_then(|value| value.number());
    let has_bias = of("bias_term").is_none_or(|value| value.is_true());
    (Chain { layer: number, layout, outputs, has_bias, stages: Vec::new() }, axis == Some(1))
}

/// The name of the message that holds `bias_term`.
fn param_name(kind: &[u8]) -> &'static str {
    if kind == b"InnerProduct" { "inner_product_param" } else { "convolution_param" }
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
