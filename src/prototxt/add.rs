//! Quant layers in front of what the NNIE computes.
//!
//! One Quant for each version of a blob and each width, right before its first reader; only the readers that the NNIE
//! computes are rewired to it. All else keeps the float blob.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use bstr::BString;

use super::EditError;
use super::document::{Document, Id};
use super::earlier::Earlier;
use super::edit::{Edits, Place};
use super::net::{Era, Layer, Net, Phase, Port, Producer, Rules, StateSet, Wire};
use super::select::Selection;
use super::shared::SharedRules;
use super::style::{QuantText, Style, lengthened};
use super::weights::{add_layer_fields, add_weight_field, left_float, unlike};
use crate::quant::Bits;

/// How many versions of one blob are looked at for a Quant to share. A net that Caffe accepts has no more than one in
/// any state; the bound is for texts made to be slow.
const RECENT: usize = 64;

/// A Quant layer that was added.
#[derive(Clone, Debug)]
pub struct Added {
    /// Its name.
    pub name: BString,
    /// What it quantises.
    pub blob: BString,
    /// Its width.
    pub bits: Bits,
    /// The layers it feeds: name and type. It stands before the first.
    pub readers: Vec<(BString, BString)>,
    /// The rules it carries.
    pub rules: Rules,
}

/// What the layers that the NNIE computes are to see of their weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// What the net says already.
    #[default]
    AsTheyAre,
    /// Quantised: a `weight_quant_param`.
    Quantised,
    /// Quantised as they are with BatchNorm and Scale folded in: one with `fold_batch_norm`.
    Folded,
}

/// A document with Quant layers.
#[derive(Clone, Debug)]
pub struct Quantised {
    /// The text.
    pub text: Vec<u8>,
    /// What was added, in the layers' order.
    pub added: Vec<Added>,
    /// Whether `weight_quant_param` was added.
    pub weights: bool,
    /// Layers that got a `quant_param` for their weights, since the selection has them otherwise than the net.
    pub own_weights: usize,
    /// Nets in the document; 0 for a solver that names its net.
    pub nets: usize,
    /// Layers that are to be quantised in front of.
    pub computed: usize,
    /// Bottoms of theirs that a Quant fed already.
    pub fed_before: usize,
    /// What a user should look at.
    pub warnings: Vec<String>,
}

/// Adds a Quant layer in front of every layer selected, and the net's `weight_quant_param` that `weights` asks for, with
/// a `quant_param` in each layer whose weights are to have another width than the net's, or to stay floats.
///
/// A bottom that a Quant layer feeds already is left alone, and so are these fields: done twice is done once.
///
/// # Errors
/// [`EditError::Empty`]; [`EditError::OldLayers`] where there is something to add to a net of `layers`.
pub fn add_quant(document: &Document, selection: &Selection, weights: Weights) -> Result<Quantised, EditError> {
    if document.root().children().next().is_none() {
        return Err(EditError::Empty);
    }
    let nets = Net::all(document)?;
    let mut edits = Edits::default();
    let mut result = Quantised {
        text: Vec::new(),
        added: Vec::new(),
        weights: false,
        own_weights: 0,
        nets: nets.len(),
        computed: 0,
        fed_before: 0,
        warnings: Vec::new(),
    };
    for net in &nets {
        let plan = Plan::of(net, document, selection);
        let first =
            plan.quants.iter().filter_map(|quant| quant.readers.first()).chain(plan.rewired.first().map(|(at, _)| at));
        if let (Era::Old, Some(&(layer, _))) = (net.era, first.min()) {
            let at = document.field(net.layers[layer].id).range().start;
            return Err(EditError::OldLayers { line: document.line_starts().line(at) });
        }
        if weights != Weights::AsTheyAre && net.era == Era::Today {
            let is_folded = weights == Weights::Folded;
            match document.field(net.id).first("weight_quant_param") {
                None => result.weights |= add_weight_field(document, net, selection.bits(), is_folded, &mut edits),
                Some(known) => {
                    let line = document.line_starts().line(known.value_range().start);
                    let otherwise = unlike(known, selection.bits(), is_folded);
                    result.warnings.extend(
                        otherwise
                            .map(|how| format!("line {line}: the weight_quant_param there is left as it is, {how}")),
                    );
                }
            }
            result.own_weights += add_layer_fields(document, net, selection, &mut edits);
            result.warnings.extend(left_float(document, net, selection));
        }
        plan.write(document, &mut edits);
        result.computed += plan.computed;
        result.fed_before += plan.fed_before;
        result.warnings.extend(plan.warnings);
        result.added.extend(plan.quants.into_iter().map(|quant| quant.into_added(net)));
    }
    let layers: Vec<&Layer> = nets.iter().flat_map(|net| &net.layers).collect();
    if !layers.is_empty() {
        result
            .warnings
            .extend(selection.idle_globs(&layers).iter().map(|glob| format!("no layer's name matches `{glob}`")));
    }
    result.text = edits.apply(document.as_bytes());
    Ok(result)
}

/// Versions of a blob and the states in which each is read: at most one in any state; `None` where nothing makes one.
#[derive(Clone)]
struct Versions {
    made: BTreeMap<Option<Producer>, StateSet>,
    covered: StateSet,
}

impl Versions {
    fn of(wire: &Wire) -> Versions {
        let missing = (!wire.missing.is_empty()).then(|| (None, wire.missing.clone()));
        let made = wire.sources.iter().map(|source| (Some(source.producer), source.states.clone())).chain(missing);
        let made: BTreeMap<_, _> = made.collect();
        let covered = made.values().fold(wire.missing.clone(), |covered, states| covered.or(states));
        Versions { made, covered }
    }

    /// Whether no state has one version here and another there.
    fn agree_with(&self, other: &Versions) -> bool {
        other.made.iter().all(|(producer, states)| match self.made.get(producer) {
            Some(same) => !states.without(same).meets(&self.covered),
            None => !states.meets(&self.covered),
        })
    }

    fn add(&mut self, other: &Versions) {
        self.covered = self.covered.or(&other.covered);
        for (producer, states) in &other.made {
            let known = self.made.entry(*producer).or_insert_with(|| states.clone());
            *known = known.or(states);
        }
    }
}

/// A Quant layer to be.
struct Quant<'a> {
    name: BString,
    blob: BString,
    bits: Bits,
    /// Layer and bottom, in order.
    readers: Vec<Port>,
    versions: Versions,
    rules: SharedRules<'a>,
    /// Its one reader writes over its own bottom, so this one must, too.
    in_place: bool,
}

impl<'a> Quant<'a> {
    /// Whether a reader of `wire` may share this Quant: in every state both see the same version, and every version
    /// is made before this Quant's place.
    fn serves(&self, wire: &Versions) -> bool {
        let place = self.readers[0].0;
        let is_before =
            |producer: &Option<Producer>| producer.and_then(Producer::layer).is_none_or(|layer| layer < place);
        !self.in_place && wire.made.keys().all(is_before) && self.versions.agree_with(wire)
    }

    /// Takes another reader, unless no rules would let the Quant take part exactly where its readers do.
    fn take(&mut self, net: &'a Net, reader: Port, versions: &Versions) -> bool {
        let layer = &net.layers[reader.0];
        if !self.rules.take(net, &layer.rules, &layer.states) {
            return false;
        }
        self.readers.push(reader);
        self.versions.add(versions);
        true
    }

    fn top(&self) -> &BString {
        if self.in_place { &self.blob } else { &self.name }
    }

    fn into_added(self, net: &Net) -> Added {
        let mut readers: Vec<usize> = self.readers.iter().map(|&(layer, _)| layer).collect();
        readers.dedup();
        let name = |layer: usize| (net.layers[layer].name.clone(), net.layers[layer].kind.clone());
        Added {
            readers: readers.into_iter().map(name).collect(),
            name: self.name,
            blob: self.blob,
            bits: self.bits,
            rules: self.rules.rules(net),
        }
    }
}

struct Plan<'a> {
    net: &'a Net,
    quants: Vec<Quant<'a>>,
    /// Bottoms that an earlier Quant layer can feed, and its top.
    rewired: Vec<(Port, BString)>,
    computed: usize,
    fed_before: usize,
    warnings: Vec<String>,
}

impl<'a> Plan<'a> {
    fn of(net: &'a Net, document: &Document, selection: &Selection) -> Plan<'a> {
        let wiring = net.wiring();
        let earlier = Earlier::of(net, &wiring, document);
        let meant = net.meant();
        let mut plan =
            Plan { net, quants: Vec::new(), rewired: Vec::new(), computed: 0, fed_before: 0, warnings: Vec::new() };
        let mut by_blob: HashMap<(&BString, Bits), Vec<usize>> = HashMap::new();
        for (number, layer) in net.layers.iter().enumerate() {
            let Some(bits) = selection.width_of(layer).filter(|_| !layer.states.is_empty()) else { continue };
            plan.computed += 1;
            for (bottom, blob) in layer.bottoms.iter().enumerate() {
                let wire = wiring.wire(number, bottom);
                if earlier.feeds(wire) {
                    plan.fed_before += 1;
                    plan.warn_of_other_width(&earlier, number, bottom, wire, bits);
                    continue;
                }
                let in_place = layer.tops.iter().any(|top| top.name == blob.name);
                if let Some(top) = earlier.usable(&wiring, number, wire, bits).filter(|_| !in_place) {
                    plan.rewired.push(((number, bottom), top.clone()));
                    continue;
                }
                if wire.missing.meets(&meant) {
                    let states = net.states.describe(&wire.missing.and(&meant));
                    let (layer, blob) = (&layer.name, &blob.name);
                    plan.warnings.push(format!("layer `{layer}` reads `{blob}`, which nothing makes in {states}"));
                }
                plan.join(&mut by_blob, (number, bottom), Versions::of(wire), bits, in_place);
            }
        }
        plan.give_names(selection.bits());
        plan
    }

    fn join(
        &mut self,
        by_blob: &mut HashMap<(&'a BString, Bits), Vec<usize>>,
        reader: Port,
        versions: Versions,
        bits: Bits,
        in_place: bool,
    ) {
        let blob = &self.net.layers[reader.0].bottoms[reader.1].name;
        let known = by_blob.entry((blob, bits)).or_default();
        // The latest first: an older version of the blob is not likely to be read again.
        for &number in known.iter().rev().take(RECENT) {
            let quant = &mut self.quants[number];
            // A layer that writes over a blob has a Quant of its own for it, however often it reads the blob.
            let serves =
                if in_place { quant.in_place && quant.readers[0].0 == reader.0 } else { quant.serves(&versions) };
            if serves && quant.take(self.net, reader, &versions) {
                return;
            }
        }
        known.push(self.quants.len());
        let layer = &self.net.layers[reader.0];
        self.quants.push(Quant {
            name: BString::default(),
            blob: blob.clone(),
            bits,
            readers: vec![reader],
            versions,
            rules: SharedRules::of(&layer.rules, &layer.states),
            in_place,
        });
    }

    /// Names that nothing else in the net has. Quants of one blob that never meet share a name, so that the range goes
    /// over from one phase to the other. The same names arise when train, test and deploy are two files, of which one
    /// has branches that the other lacks: what is there in TEST is named first, and a blob's last version before those
    /// that are written over in place.
    fn give_names(&mut self, main: Bits) {
        let net = self.net;
        let blobs = net.layers.iter().flat_map(|layer| layer.bottoms.iter().chain(&layer.tops)).chain(&net.inputs);
        let taken: HashSet<&BString> = blobs.map(|blob| &blob.name).chain(net.layers.iter().map(|l| &l.name)).collect();
        let mut given: HashMap<BString, StateSet> = HashMap::new();
        // For each name without a number, the first number that may be free in such states: names are never given back.
        let mut free: HashMap<(BString, &StateSet), u32> = HashMap::new();
        let test = net.states.in_phase(Phase::Test);
        let mut order: Vec<&mut Quant> = self.quants.iter_mut().collect();
        order.sort_by_key(|quant| {
            let is_tested = quant.rules.states().meets(&test);
            (!is_tested, Reverse(quant.versions.made.keys().next_back().copied()))
        });
        for quant in order {
            let width = if quant.bits == main { String::new() } else { quant.bits.number().to_string() };
            let states = quant.rules.states();
            let base = BString::from([quant.blob.as_slice(), format!("_quant{width}").as_bytes()].concat());
            let numbered = |number: u32| match number {
                1 => base.clone(),
                _ => BString::from([base.as_slice(), format!("_{number}").as_bytes()].concat()),
            };
            let next = free.entry((base.clone(), states)).or_insert(1);
            let mut name = numbered(*next);
            while taken.contains(&name) || given.get(&name).is_some_and(|known| known.meets(states)) {
                *next += 1;
                name = numbered(*next);
            }
            let known = given.entry(name.clone()).or_insert_with(|| states.clone());
            *known = known.or(states);
            *next += 1;
            quant.name = name;
        }
    }

    fn warn_of_other_width(&mut self, earlier: &Earlier, layer: usize, bottom: usize, wire: &Wire, wanted: Bits) {
        if let Some(bits) = earlier.quants_of(wire).map(|quant| quant.width()).find(|&bits| bits != wanted.number()) {
            let layer = &self.net.layers[layer];
            let (name, blob) = (&layer.name, &layer.bottoms[bottom].name);
            let wanted = wanted.number();
            let warning =
                format!("layer `{name}` is to be {wanted} bit, but `{blob}` is quantised in {bits}: left as it is");
            self.warnings.push(warning);
        }
    }

    fn write(&self, document: &Document, edits: &mut Edits) {
        for quant in &self.quants {
            let first = document.field(self.net.layers[quant.readers[0].0].id);
            let place = Place::before(document, first);
            let style = Style::of(document, first);
            let text = QuantText {
                name: &quant.name,
                bottom: &quant.blob,
                top: quant.top(),
                bits: quant.bits,
                rules: &quant.rules.rules(self.net),
            };
            edits.replace(place.at..place.at, style.quant_layer(&place, &text));
            if !quant.in_place {
                for &(layer, bottom) in &quant.readers {
                    rewire(document, self.net.layers[layer].bottoms[bottom].id, &quant.name, edits);
                }
            }
        }
        for ((layer, bottom), top) in &self.rewired {
            rewire(document, self.net.layers[*layer].bottoms[*bottom].id, top, edits);
        }
    }
}

fn rewire(document: &Document, bottom: Id, name: &[u8], edits: &mut Edits) {
    let value = document.field(bottom);
    edits.replace(value.value_range(), lengthened(value, name));
}
