//! Where a net's new Quant layers go, which bottoms they feed, and what they are called.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bstr::BString;

use super::add::Added;
use super::document::{Document, Id};
use super::earlier::Earlier;
use super::edit::{Edits, Place, remove_layers};
use super::net::{Net, Phase, Port, Producer, StateSet, Wire};
use super::select::Selection;
use super::shared::SharedRules;
use super::style::{QuantText, Style, lengthened};
use super::weights::Options;
use crate::quant::Bits;

/// How many versions of one blob are looked at for a Quant to share. A net that Caffe accepts has no more than one in
/// any state; the bound is for texts made to be slow.
const RECENT: usize = 64;

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
pub(super) struct Quant<'a> {
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

    pub fn into_added(self, net: &Net) -> Added {
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

pub(super) struct Plan<'a> {
    net: &'a Net,
    pub quants: Vec<Quant<'a>>,
    /// Bottoms that an earlier Quant layer can feed, and its top.
    rewired: Vec<(Port, &'a BString)>,
    /// Earlier Quant layers that are to stand before another reader of theirs, and that reader.
    pub moved: Vec<(usize, Port)>,
    pub computed: usize,
    pub fed_before: usize,
    /// Quant layers that are switched off, where they would feed something.
    idle: BTreeSet<usize>,
    pub warnings: Vec<String>,
}

impl<'a> Plan<'a> {
    pub fn of(net: &'a Net, document: &'a Document, selection: &Selection) -> Plan<'a> {
        let wiring = net.wiring();
        let mut earlier = Earlier::of(net, &wiring, document);
        let meant = net.meant();
        let mut plan = Plan {
            net,
            quants: Vec::new(),
            rewired: Vec::new(),
            moved: Vec::new(),
            computed: 0,
            fed_before: 0,
            idle: BTreeSet::new(),
            warnings: Vec::new(),
        };
        let mut by_blob: HashMap<(&BString, Bits), Vec<usize>> = HashMap::new();
        for (number, layer) in net.layers.iter().enumerate() {
            let Some(bits) = selection.width_of(layer).filter(|_| !layer.states.is_empty()) else { continue };
            // A layer computes in one width: what is said of its weights holds for its data.
            let own = Options::read(document.field(layer.id).first("quant_param"));
            let bits = own.bits.and_then(Bits::from_number).unwrap_or(bits);
            plan.computed += 1;
            for (bottom, blob) in layer.bottoms.iter().enumerate() {
                let wire = wiring.wire(number, bottom);
                if earlier.feeds(wire) {
                    plan.note_fed(&earlier, (number, bottom), wire, &meant, bits);
                    continue;
                }
                let in_place = layer.tops.iter().any(|top| top.name == blob.name);
                if !in_place && let Some(top) = earlier.share(&wiring, (number, bottom), bits) {
                    plan.rewired.push(((number, bottom), top));
                    continue;
                }
                let states = wire.missing.and(&meant);
                if !states.is_empty() {
                    let (layer, blob) = (&layer.name, &blob.name);
                    let everywhere = net.layers[number].states.and(&meant);
                    let states = match states == everywhere {
                        true => String::new(),
                        false => format!(" in {}", net.states.describe(&states)),
                    };
                    plan.warnings.push(format!("layer `{layer}` reads `{blob}`, which nothing makes{states}"));
                }
                let is_new = plan.join(&mut by_blob, (number, bottom), Versions::of(wire), bits, in_place);
                if is_new
                    && !in_place
                    && let Some(other) = earlier.beside(&wiring, wire, bits)
                {
                    let (layer, blob) = (&layer.name, &blob.name);
                    plan.warnings.push(format!(
                        "layer `{layer}` gets a Quant layer of its own for `{blob}`, with a range of its own: `{other}` \
                         cannot stand before it, or takes part in other states"
                    ));
                }
            }
        }
        plan.warnings.extend(plan.switched_off());
        plan.moved = earlier.into_moved();
        plan.give_names(selection.bits());
        plan
    }

    /// `false` where an earlier reader's Quant serves this one, too.
    fn join(
        &mut self,
        by_blob: &mut HashMap<(&'a BString, Bits), Vec<usize>>,
        reader: Port,
        versions: Versions,
        bits: Bits,
        in_place: bool,
    ) -> bool {
        let blob = &self.net.layers[reader.0].bottoms[reader.1].name;
        let known = by_blob.entry((blob, bits)).or_default();
        // The latest first: an older version of the blob is not likely to be read again.
        for &number in known.iter().rev().take(RECENT) {
            let quant = &mut self.quants[number];
            // A layer that writes over a blob has a Quant of its own for it, however often it reads the blob.
            let serves =
                if in_place { quant.in_place && quant.readers[0].0 == reader.0 } else { quant.serves(&versions) };
            if serves && quant.take(self.net, reader, &versions) {
                return false;
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
        true
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

    /// A bottom that an earlier Quant layer feeds, in some states at least. Another one, which could not tell states
    /// apart, is not put between.
    fn note_fed(&mut self, earlier: &Earlier<'a>, at: Port, wire: &Wire, meant: &StateSet, wanted: Bits) {
        let layer = &self.net.layers[at.0];
        let (name, blob) = (&layer.name, &layer.bottoms[at.1].name);
        let other = earlier.quants_of(wire).map(|(_, quant)| quant.width()).find(|&bits| bits != wanted.number());
        if let Some(bits) = other {
            let wanted = wanted.number();
            self.warnings.push(format!(
                "layer `{name}` is to be {wanted} bit, but `{blob}` is quantised in {bits}: left as it is"
            ));
        }
        self.idle.extend(earlier.quants_of(wire).filter(|(_, quant)| quant.is_off).map(|(layer, _)| layer));
        match earlier.floats(wire).map(|floats| floats.and(meant)).filter(|floats| !floats.is_empty()) {
            Some(floats) => {
                let states = self.net.states.describe(&floats);
                self.warnings.push(format!(
                    "layer `{name}` reads `{blob}` as floats in {states}: the Quant layer that feeds it takes part in \
                     other states only, and is left as it is"
                ));
            }
            None => self.fed_before += 1,
        }
    }

    /// The layers that new Quant layers feed.
    pub fn fed(&self) -> BTreeSet<usize> {
        self.quants.iter().flat_map(|quant| &quant.readers).map(|&(layer, _)| layer).collect()
    }

    fn switched_off(&self) -> Option<String> {
        let first = &self.net.layers[*self.idle.first()?].name;
        let which = match self.idle.len() {
            1 => format!("Quant layer `{first}` is"),
            count => format!("{count} Quant layers, `{first}` the first, are"),
        };
        Some(format!("{which} switched off by quant_en: what is read from there stays float"))
    }

    /// The first layer that changes, in the net's order.
    pub fn first_change(&self) -> Option<usize> {
        let new = self.quants.iter().map(|quant| quant.readers[0].0);
        new.chain(self.rewired.iter().map(|&((layer, _), _)| layer)).min()
    }

    pub fn write(&self, document: &Document, edits: &mut Edits) {
        let net = self.net;
        let mut layers: Vec<(Port, Vec<u8>)> = Vec::new();
        for quant in &self.quants {
            let (place, style) = self.neighbourhood(document, quant.readers[0]);
            let text = QuantText {
                name: &quant.name,
                bottom: &quant.blob,
                top: quant.top(),
                bits: quant.bits,
                rules: &quant.rules.rules(net),
            };
            layers.push((quant.readers[0], style.quant_layer(&place, &text)));
            if !quant.in_place {
                for &(layer, bottom) in &quant.readers {
                    rewire(document, net.layers[layer].bottoms[bottom].id, &quant.name, edits);
                }
            }
        }
        for &(quant, reader) in &self.moved {
            let (place, style) = self.neighbourhood(document, reader);
            layers.push((reader, style.moved_layer(&place, document.field(net.layers[quant].id))));
        }
        layers.sort_by_key(|&(reader, _)| reader);
        for ((reader, _), text) in layers {
            let at = Place::before(document, document.field(net.layers[reader].id)).at;
            edits.replace(at..at, text);
        }
        let moved: HashSet<Id> = self.moved.iter().map(|&(quant, _)| net.layers[quant].id).collect();
        if !moved.is_empty() {
            remove_layers(document, document.field(net.id), &moved, edits);
        }
        for ((layer, bottom), top) in &self.rewired {
            rewire(document, net.layers[*layer].bottoms[*bottom].id, top, edits);
        }
    }

    /// The place in front of a reader, and how that one is written.
    fn neighbourhood(&self, document: &Document, (reader, _): Port) -> (Place, Style) {
        let reader = document.field(self.net.layers[reader].id);
        (Place::before(document, reader), Style::of(document, reader))
    }
}

fn rewire(document: &Document, bottom: Id, name: &[u8], edits: &mut Edits) {
    let value = document.field(bottom);
    edits.replace(value.value_range(), lengthened(value, name));
}
