//! Where a net's new Quant layers go, which bottoms they feed, and what they are called.
//!
//! Each selected layer's bottoms are taken in the net's order. A bottom that a Quant layer feeds already stays; else an
//! existing Quant layer is shared; else a new one, which serves later bottoms too as long as they read the same version of
//! the blob.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bstr::BString;

use super::changes::Change;
use super::existing::Existing;
use super::layer_text::Added;
use super::merged_rules::MergedRules;
use super::selection::Selection;
use crate::prototxt::net::{Net, Phase, Port, Producer, StateSet, Wire};
use crate::prototxt::text::Document;
use crate::quant::Bits;

/// How many new Quant layers of one blob are looked at for one to share. A net that Caffe accepts has at most one version
/// of a blob in any state; the bound keeps a malicious file from taking quadratic time.
const RECENT: usize = 64;

/// Versions of a blob and the states in which each is read. A state has at most one version; the key `None` stands for the
/// states in which nothing makes the blob.
#[derive(Clone)]
struct Versions {
    made: BTreeMap<Option<Producer>, StateSet>,
    /// The states in which the blob is read.
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

    /// Whether no state has different versions in `self` and `other`.
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

/// A Quant layer that is to be added.
struct NewQuant<'a> {
    /// Its name, given after all Quant layers are placed.
    name: BString,
    blob: BString,
    bits: Bits,
    /// The bottoms that read it, in the net's order. It stands in front of the first.
    readers: Vec<Port>,
    versions: Versions,
    rules: MergedRules<'a>,
    /// Whether it writes over its bottom, because its one reader writes over that blob too.
    in_place: bool,
}

impl<'a> NewQuant<'a> {
    /// Whether a reader of these versions may share this Quant layer: in every state both see the same version, and every
    /// version is made in front of this Quant layer's place.
    fn serves(&self, wire: &Versions) -> bool {
        let place = self.readers[0].0;
        let is_before =
            |producer: &Option<Producer>| producer.and_then(Producer::layer).is_none_or(|layer| layer < place);
        !self.in_place && wire.made.keys().all(is_before) && self.versions.agree_with(wire)
    }

    /// Adds a reader. Returns false if no rules would let the Quant layer take part exactly where its readers do.
    fn add_reader(&mut self, net: &'a Net, reader: Port, versions: &Versions) -> bool {
        let layer = &net.layers[reader.0];
        if !self.rules.add(net, &layer.rules, &layer.states) {
            return false;
        }
        self.readers.push(reader);
        self.versions.add(versions);
        true
    }

    fn into_added(self, net: &Net) -> Added {
        let mut readers: Vec<usize> = self.readers.iter().map(|&(layer, _)| layer).collect();
        readers.dedup();
        let name_and_type = |layer: usize| (net.layers[layer].name.clone(), net.layers[layer].kind.clone());

        Added {
            top: if self.in_place { self.blob.clone() } else { self.name.clone() },
            name: self.name,
            blob: self.blob,
            bits: self.bits,
            readers: readers.into_iter().map(name_and_type).collect(),
            rules: self.rules.rules(net),
        }
    }
}

/// What add_quant does to a net's layers.
pub(super) struct Placement {
    /// The changes to the net's text, in the order of the layers.
    pub changes: Vec<Change>,
    /// How many layers are selected.
    pub computed: usize,
    /// The layers that new Quant layers feed.
    pub fed: BTreeSet<usize>,
    /// How many bottoms of the selected layers a Quant layer fed already.
    pub fed_before: usize,
    /// How many existing Quant layers move in front of an earlier reader.
    pub moved: usize,
    /// What the user should look at.
    pub warnings: Vec<String>,
}

/// Decides where the Quant layers of a net go.
pub(super) fn place(net: &Net, document: &Document, selection: &Selection) -> Placement {
    let mut placer = Placer {
        net,
        intended: net.intended_states(),
        quants: Vec::new(),
        by_blob: HashMap::new(),
        rewired: Vec::new(),
        computed: 0,
        fed_before: 0,
        switched_off: BTreeSet::new(),
        warnings: Vec::new(),
    };
    let wiring = net.wiring();
    let mut existing = Existing::of(net, &wiring, document);

    for (number, layer) in net.layers.iter().enumerate() {
        let Some(bits) = selection.width_of(layer).filter(|_| !layer.states.is_empty()) else { continue };
        // A layer computes in one bit width, so its quant_param for weights decides for its data too.
        let bits = layer.quant_param.bits.and_then(Bits::from_number).unwrap_or(bits);
        placer.computed += 1;
        let tops: HashSet<&BString> = layer.tops.iter().map(|top| &top.name).collect();

        for (bottom, blob) in layer.bottoms.iter().enumerate() {
            let at = (number, bottom);
            let wire = wiring.wire(number, bottom);
            if existing.feeds(wire) {
                placer.note_fed(&existing, at, wire, bits);
                continue;
            }

            let in_place = tops.contains(&blob.name);
            if !in_place && let Some(top) = existing.share(&wiring, at, bits) {
                placer.rewired.push((at, top.clone()));
                continue;
            }

            placer.note_missing(at, wire);
            let is_new = placer.join(at, Versions::of(wire), bits, in_place);
            if is_new
                && !in_place
                && let Some(other) = existing.unshared(&wiring, wire, bits)
            {
                let (layer, blob) = (&layer.name, &blob.name);
                placer.warnings.push(format!(
                    "layer `{layer}` gets a Quant layer of its own for `{blob}`, with a range of its own: `{other}` cannot \
                     stand before it, or takes part in other states"
                ));
            }
        }
    }
    placer.note_switched_off();
    placer.give_names(selection.bits());
    placer.finish(existing.into_moved())
}

/// A [`Placement`] in the making.
struct Placer<'a> {
    net: &'a Net,
    /// The states in which the net is meant to run.
    intended: StateSet,
    /// The new Quant layers, in the order of their first readers.
    quants: Vec<NewQuant<'a>>,
    /// The indices in `quants` of the Quant layers of a blob's name and a bit width.
    by_blob: HashMap<(&'a BString, Bits), Vec<usize>>,
    /// The bottoms that an existing Quant layer can feed, and its top.
    rewired: Vec<(Port, BString)>,
    computed: usize,
    fed_before: usize,
    /// The existing Quant layers that would feed a selected layer but are switched off.
    switched_off: BTreeSet<usize>,
    warnings: Vec<String>,
}

impl<'a> Placer<'a> {
    /// Lets a new Quant layer feed a reader. Returns false if one that is placed already can feed this reader too.
    fn join(&mut self, reader: Port, versions: Versions, bits: Bits, in_place: bool) -> bool {
        let blob = &self.net.layers[reader.0].bottoms[reader.1].name;
        let known = self.by_blob.entry((blob, bits)).or_default();
        // The latest first, because an older version of the blob is not likely to be read again.
        for &number in known.iter().rev().take(RECENT) {
            let quant = &mut self.quants[number];
            // A layer that writes over a blob has one Quant layer of its own for it, however often it reads the blob.
            let serves =
                if in_place { quant.in_place && quant.readers[0].0 == reader.0 } else { quant.serves(&versions) };
            if serves && quant.add_reader(self.net, reader, &versions) {
                return false;
            }
        }

        known.push(self.quants.len());
        let layer = &self.net.layers[reader.0];
        self.quants.push(NewQuant {
            name: BString::default(),
            blob: blob.clone(),
            bits,
            readers: vec![reader],
            versions,
            rules: MergedRules::of(&layer.rules, &layer.states),
            in_place,
        });
        true
    }

    /// Names the new Quant layers: blob, `_quant`, the width if it is not the main one, and a number if needed. No other
    /// blob or layer has the name, but Quant layers of one blob that take part in different states share one, so that the
    /// range learnt in TRAIN serves in TEST.
    ///
    /// Train and deploy nets are often two files, one of which has branches that the other lacks; Caffe copies ranges by
    /// layer name. So that both files get the same names, layers that take part in TEST are named first, and a blob's last
    /// version before those that are written over in place.
    fn give_names(&mut self, main: Bits) {
        let net = self.net;
        let blobs = net.layers.iter().flat_map(|layer| layer.bottoms.iter().chain(&layer.tops)).chain(&net.inputs);
        let taken: HashSet<&BString> = blobs.map(|blob| &blob.name).chain(net.layers.iter().map(|l| &l.name)).collect();

        let mut given: HashMap<BString, StateSet> = HashMap::new();
        // For each name without a number and each set of states, the first number that may be free. Names are never given
        // back, so the search can go on from there.
        let mut free: HashMap<(BString, &StateSet), u32> = HashMap::new();

        let test = net.states.in_phase(Phase::Test);
        let mut order: Vec<&mut NewQuant> = self.quants.iter_mut().collect();
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

    /// Notes a bottom that an existing Quant layer feeds, in some states at least. No second one is put between, since it
    /// could not tell the states apart.
    fn note_fed(&mut self, existing: &Existing<'a>, at: Port, wire: &Wire, wanted: Bits) {
        let net = self.net;
        let layer = &net.layers[at.0];
        let (name, blob) = (&layer.name, &layer.bottoms[at.1].name);

        let widths = existing.quants_of(wire).map(|quant| net.layers[quant].quant_param.width());
        if let Some(bits) = widths.into_iter().find(|&bits| bits != wanted.number()) {
            let wanted = wanted.number();
            self.warnings.push(format!(
                "layer `{name}` is to be {wanted} bit, but `{blob}` is quantised in {bits}: left as it is"
            ));
        }
        self.switched_off.extend(existing.quants_of(wire).filter(|&quant| net.layers[quant].quant_param.is_off));

        let floats = existing.float_states(wire).map(|floats| floats.and(&self.intended));
        match floats.filter(|floats| !floats.is_empty()) {
            Some(floats) => {
                let states = net.states.describe(&floats);
                self.warnings.push(format!(
                    "layer `{name}` reads `{blob}` as floats in {states}: the Quant layer that feeds it takes part in \
                     other states only, and is left as it is"
                ));
            }
            None => self.fed_before += 1,
        }
    }

    /// Warns of a bottom that nothing makes, in states in which the net is meant to run.
    fn note_missing(&mut self, (number, bottom): Port, wire: &Wire) {
        let layer = &self.net.layers[number];
        let missing = wire.missing.and(&self.intended);
        if missing.is_empty() {
            return;
        }
        let states = match missing == layer.states.and(&self.intended) {
            true => String::new(),
            false => format!(" in {}", self.net.states.describe(&missing)),
        };
        let (name, blob) = (&layer.name, &layer.bottoms[bottom].name);
        self.warnings.push(format!("layer `{name}` reads `{blob}`, which nothing makes{states}"));
    }

    fn note_switched_off(&mut self) {
        let Some(&first) = self.switched_off.first() else { return };
        let first = &self.net.layers[first].name;
        let which = match self.switched_off.len() {
            1 => format!("Quant layer `{first}` is"),
            count => format!("{count} Quant layers, `{first}` the first, are"),
        };
        self.warnings.push(format!("{which} switched off by quant_en: what is read from there stays float"));
    }

    fn finish(self, moved: HashMap<usize, Port>) -> Placement {
        let net = self.net;
        let fed = self.quants.iter().flat_map(|quant| &quant.readers).map(|&(layer, _)| layer).collect();
        let moved_count = moved.len();

        // Several layers may be inserted at one place, so their order is that of the bottoms that they feed.
        let mut changes: Vec<(Port, Change)> = Vec::new();
        for quant in self.quants {
            let readers = quant.readers.clone();
            let added = quant.into_added(net);
            let rewired = if added.top == added.blob { [].as_slice() } else { &readers };
            changes.extend(rewired.iter().map(|&at| (at, Change::Rewire { bottom: at, blob: added.top.clone() })));
            changes.push((readers[0], Change::AddQuant { before: readers[0].0, quant: added }));
        }
        let moves = moved.into_iter().map(|(layer, at)| (at, Change::MoveLayer { layer, before: at.0 }));
        changes.extend(moves);
        changes.extend(self.rewired.into_iter().map(|(at, blob)| (at, Change::Rewire { bottom: at, blob })));
        changes.sort_by_key(|&(at, _)| at);

        Placement {
            changes: changes.into_iter().map(|(_, change)| change).collect(),
            computed: self.computed,
            fed,
            fed_before: self.fed_before,
            moved: moved_count,
            warnings: self.warnings,
        }
    }
}
