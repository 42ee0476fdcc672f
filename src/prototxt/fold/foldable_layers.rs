//! Finds the chains of a net: which BatchNorm and Scale layers fold, and why the others do not.

use std::collections::HashSet;

use super::{Affine, Chain, Chains, Layout, NotFolded, Stage, param_name};
use crate::prototxt::error::EditError;
use crate::prototxt::net::{Layer, Net, Phase, Producer, Wiring};
use crate::prototxt::nnie::{QUANT, has_weights};
use crate::prototxt::text::{Document, Field};

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
