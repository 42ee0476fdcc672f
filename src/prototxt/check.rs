//! Whether a net's Quant layers are where they belong, and what of it the NNIE cannot run.

use std::collections::HashMap;

use bstr::BString;

use super::document::{Document, Field, LineIndex};
use super::net::{Era, Layer, Net, Phase, Port, Producer, StateSet, Wiring};
use super::select::Selection;
use super::weights::Options;
use super::{EditError, QUANT};
use crate::quant::Bits;

/// What the net is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Training with the quantiser in the loop: Quant layers feed what the NNIE computes.
    #[default]
    Train,
    /// The NNIE compiler: it quantises itself, and knows no Quant layer.
    Compiler,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The net is not what it should be.
    Error,
    /// It may be meant so.
    Warning,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A layer that the NNIE computes reads floats.
    Unfed,
    /// A Quant layer's top is read by nothing.
    FeedsNothing,
    /// A Quant layer reads what another has quantised.
    TwoInARow,
    /// Nothing makes what a layer reads.
    MissingBlob,
    /// A Quant layer's bottoms and tops are not pairs.
    NotPairs,
    /// A layer is fed in another width than it is to be computed in.
    OtherWidth,
    /// A width that the NNIE does not have.
    BadBits,
    /// A Quant layer whose range would be trained.
    TrainedRange,
    /// Two Quant layers of one name in one state of the net.
    SameName,
    /// A net in Caffe's old form, which has no Quant layer.
    OldLayers,
    /// A Quant layer that quantises nothing.
    SwitchedOff,
    /// A Quant layer, or a field of the quantiser, in a net for the compiler.
    QuantLeft,
    /// The NNIE has no hardware for the layer's type.
    NoHardware,
}

impl Fault {
    /// The fault's name for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Fault::Unfed => "unfed",
            Fault::FeedsNothing => "feeds-nothing",
            Fault::TwoInARow => "two-in-a-row",
            Fault::MissingBlob => "missing-blob",
            Fault::NotPairs => "not-pairs",
            Fault::OtherWidth => "other-width",
            Fault::BadBits => "bad-bits",
            Fault::TrainedRange => "trained-range",
            Fault::SameName => "same-name",
            Fault::OldLayers => "old-layers",
            Fault::SwitchedOff => "switched-off",
            Fault::QuantLeft => "quant-left",
            Fault::NoHardware => "no-hardware",
        }
    }

    /// How bad it is.
    pub const fn severity(self) -> Severity {
        match self {
            Fault::OtherWidth | Fault::OldLayers | Fault::SwitchedOff | Fault::NoHardware => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub fault: Fault,
    /// The layer's line, or that of the net's own field.
    pub line: usize,
    /// The layer's name; none for a field of the net.
    pub layer: BString,
    /// The layer's type.
    pub kind: BString,
    /// The blob in question.
    pub blob: Option<BString>,
    /// In words.
    pub message: String,
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Layers.
    pub layers: usize,
    /// Those that the NNIE computes in 8 or 16 bit.
    pub computed: usize,
    /// Quant layers.
    pub quants: usize,
    /// In the order of the layers.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many findings are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.fault.severity() == severity).count()
    }
}

/// Looks at every net in a document.
///
/// # Errors
/// [`EditError::Empty`], [`EditError::NoLayers`].
pub fn check(document: &Document, selection: &Selection, target: Target) -> Result<Report, EditError> {
    if document.root().children().next().is_none() {
        return Err(EditError::Empty);
    }
    let nets = Net::all(document)?;
    if nets.is_empty() {
        return Err(EditError::NoLayers);
    }
    let lines = document.line_starts();
    let mut report = Report::default();
    for net in &nets {
        let wiring = net.wiring();
        let meant = net.meant();
        let whole = document.field(net.id).first("weight_quant_param");
        let of_net = whole.and_then(|whole| Bits::from_number(Options::read(Some(whole)).width()));
        let selection = &selection.clone().or_bits(of_net);
        let mut checker =
            Checker { net, meant, document, lines: &lines, wiring: &wiring, selection, report: &mut report };
        if let Some(whole) = whole {
            checker.net_field(whole, target);
        }
        checker.run(target);
    }
    Ok(report)
}

struct Checker<'a> {
    net: &'a Net,
    meant: StateSet,
    document: &'a Document,
    lines: &'a LineIndex,
    wiring: &'a Wiring,
    selection: &'a Selection,
    report: &'a mut Report,
}

impl Checker<'_> {
    fn run(&mut self, target: Target) {
        let net = self.net;
        if (net.era, target) == (Era::Old, Target::Train) {
            let message = "`layers` is Caffe's old form, which has no Quant layer: run Caffe's own \
                           `upgrade_net_proto_text IN OUT` first, and use its output";
            self.find(Fault::OldLayers, 0, None, message.to_owned());
        }
        let mut named: HashMap<&BString, StateSet> = HashMap::new();
        self.report.layers += net.layers.len();
        for (number, layer) in net.layers.iter().enumerate() {
            self.blobs_are_made(number);
            self.report.computed += usize::from(self.selection.has_type(&layer.kind));
            if layer.kind == QUANT {
                self.report.quants += 1;
                match target {
                    Target::Train => {
                        self.quant(number);
                        let before = named.entry(&layer.name).or_insert_with(|| net.states.none());
                        if before.meets(&layer.states) {
                            let states = self.in_states(&before.and(&layer.states));
                            let message =
                                format!("another Quant layer has its name{states}, and would share its range");
                            self.find(Fault::SameName, number, None, message);
                        }
                        *before = before.or(&layer.states);
                    }
                    Target::Compiler => {
                        let message = "a Quant layer, which the NNIE compiler does not know: strip-quant takes it out";
                        self.find(Fault::QuantLeft, number, None, message.to_owned());
                    }
                }
            } else {
                self.computed(number, target);
            }
            self.has_hardware(number);
        }
    }

    fn computed(&mut self, number: usize, target: Target) {
        let layer = &self.net.layers[number];
        let own = self.own(number);
        if let Some(bits) = own.bits.filter(|&bits| Bits::from_number(bits).is_none()) {
            self.find(Fault::BadBits, number, None, bad_bits(bits));
        }
        match (target, self.selection.width_of(layer)) {
            (Target::Compiler, _) if self.document.field(layer.id).first("quant_param").is_some() => {
                let message = "a quant_param, which the NNIE compiler does not know: strip-quant takes it out";
                self.find(Fault::QuantLeft, number, None, message.to_owned());
            }
            // The layer's own quant_param, for its weights, says what add-quant was told.
            (Target::Train, Some(bits)) if !own.is_off => {
                for bottom in 0..layer.bottoms.len() {
                    self.is_fed((number, bottom), own.bits.unwrap_or(bits.number()));
                }
            }
            _ => {}
        }
    }

    /// The net's weight_quant_param.
    fn net_field(&mut self, field: Field<'_>, target: Target) {
        let bits = Options::read(Some(field)).width();
        let bad = Bits::from_number(bits).is_none().then(|| (Fault::BadBits, bad_bits(bits)));
        let left = (target == Target::Compiler).then(|| {
            let message = "a weight_quant_param, which the NNIE compiler does not know: strip-quant takes it out";
            (Fault::QuantLeft, message.to_owned())
        });
        let line = self.lines.line(field.value_range().start);
        for (fault, message) in bad.into_iter().chain(left) {
            let (layer, kind) = (BString::default(), BString::default());
            self.report.findings.push(Finding { fault, line, layer, kind, blob: None, message });
        }
    }

    fn blobs_are_made(&mut self, number: usize) {
        for (bottom, blob) in self.net.layers[number].bottoms.iter().enumerate() {
            let missing = self.wiring.wire(number, bottom).missing.and(&self.meant);
            if !missing.is_empty() {
                let is_everywhere = missing == self.net.layers[number].states.and(&self.meant);
                let states = if is_everywhere { String::new() } else { self.in_states(&missing) };
                self.find(
                    Fault::MissingBlob,
                    number,
                    Some(&blob.name),
                    format!("nothing makes `{}`{states}", blob.name),
                );
            }
        }
    }

    fn quant(&mut self, number: usize) {
        let layer = &self.net.layers[number];
        let (bottoms, tops) = (layer.bottoms.len(), layer.tops.len());
        if bottoms != tops || bottoms == 0 {
            let message = format!("{bottoms} bottom(s) and {tops} top(s): a Quant layer has them in pairs");
            self.find(Fault::NotPairs, number, None, message);
        }
        let own = self.own(number);
        if Bits::from_number(own.width()).is_none() {
            self.find(Fault::BadBits, number, None, bad_bits(own.width()));
        }
        // Caffe's default for lr_mult is 1, and the layer refuses to train its range.
        let param = self.document.field(layer.id).first("param");
        let rate = param.map(|param| param.first("lr_mult").map_or(Some(1.0), |rate| rate.number::<f64>()));
        if rate.is_some_and(|rate| rate != Some(0.0)) {
            let message = "its range would be trained, which Caffe refuses: give it param { lr_mult: 0 decay_mult: 0 }";
            self.find(Fault::TrainedRange, number, None, message.to_owned());
        }
        if own.is_off {
            self.find(Fault::SwitchedOff, number, None, "quant_en: 0 has it hand on the floats".to_owned());
        }
        for (bottom, blob) in layer.bottoms.iter().enumerate() {
            let before = self.quants_behind((number, bottom)).next().map(|quant| &self.net.layers[quant].name);
            if let Some(before) = before {
                let message = format!("`{}` is quantised already, by `{before}`", blob.name);
                self.find(Fault::TwoInARow, number, Some(&blob.name), message);
            }
        }
        for (top, blob) in layer.tops.iter().enumerate() {
            if self.wiring.readers(Producer::Top { layer: number, top }).is_empty() && !layer.states.is_empty() {
                let message = format!("nothing reads its `{}`", blob.name);
                self.find(Fault::FeedsNothing, number, Some(&blob.name), message);
            }
        }
    }

    fn is_fed(&mut self, at: Port, wanted: u32) {
        let net = self.net;
        let layer = &net.layers[at.0];
        let blob = &layer.bottoms[at.1].name;
        let wire = self.wiring.wire(at.0, at.1);
        let is_quant = |producer: Producer| producer.layer().is_some_and(|layer| net.layers[layer].kind == QUANT);
        let floats =
            wire.sources.iter().filter(|source| !is_quant(source.producer)).map(|source| source.states.clone());
        if let Some(floats) = floats.reduce(|a, b| a.or(&b)) {
            let states = self.in_states(&floats);
            self.find(Fault::Unfed, at.0, Some(blob), format!("`{blob}` does not come from a Quant layer{states}"));
        }
        let mut widths = self.quants_behind(at).map(|quant| self.own(quant).width());
        let other = widths.find(|&bits| bits != wanted);
        drop(widths);
        if let Some(bits) = other {
            let message = format!("`{blob}` is quantised in {bits} bit, and the layer is to be computed in {wanted}");
            self.find(Fault::OtherWidth, at.0, Some(blob), message);
        }
    }

    fn has_hardware(&mut self, number: usize) {
        let layer = &self.net.layers[number];
        let is_deployed = layer.states.meets(&self.net.states.in_phase(Phase::Test));
        let known = self.selection.has_type(&layer.kind) || layer.kind == QUANT;
        if is_deployed && !known && !runs_on_chip(layer) && !stays_behind(layer) {
            let message = format!(
                "the NNIE has no hardware for `{}`: its compiler takes it as Custom or Proposal, which run on the CPU",
                layer.kind
            );
            self.find(Fault::NoHardware, number, None, message);
        }
    }

    /// A layer's own quant_param.
    fn own(&self, number: usize) -> Options {
        Options::read(self.document.field(self.net.layers[number].id).first("quant_param"))
    }

    fn quants_behind(&self, (layer, bottom): Port) -> impl Iterator<Item = usize> {
        let net = self.net;
        let layers = self.wiring.wire(layer, bottom).sources.iter().filter_map(|source| source.producer.layer());
        layers.filter(|&layer| net.layers[layer].kind == QUANT)
    }

    /// ` in TRAIN`; nothing where it is so in every state.
    fn in_states(&self, states: &StateSet) -> String {
        if *states == self.net.states.all() {
            String::new()
        } else {
            format!(" in {}", self.net.states.describe(states))
        }
    }

    fn find(&mut self, fault: Fault, number: usize, blob: Option<&BString>, message: String) {
        let layer = &self.net.layers[number];
        let line = self.lines.line(self.document.field(layer.id).range().start);
        let (layer, kind) = (layer.name.clone(), layer.kind.clone());
        self.report.findings.push(Finding { fault, line, layer, kind, blob: blob.cloned(), message });
    }
}

fn bad_bits(bits: u32) -> String {
    format!("quant_bits is {bits}, and the NNIE computes in 8 or 16")
}

/// Types that the NNIE runs itself besides those it computes in 8 or 16 bit: Caffe's own, and those of public networks
/// that its compiler knows.
#[rustfmt::skip]
const ON_CHIP: [&str; 50] = [
    "AbsVal", "ArgMax", "BN", "BNLL", "BatchNorm", "BatchReindex", "Bias", "Concat", "Crop", "Dropout", "ELU",
    "Eltwise", "Exp", "Flatten", "Input", "Interp", "LRN", "LSTM", "Log", "MVN", "Mish", "Normalize", "PReLU",
    "PSROIPooling", "PassThrough", "Passthrough", "Permute", "Power", "RNN", "ROIPooling", "RReLU", "ReLU", "ReLU6",
    "Recurrent", "Reduction", "Reorg", "Reshape", "SPP", "Scale", "ShuffleChannel", "Sigmoid", "Slice", "Softmax",
    "Split", "TanH", "Threshold", "Tile", "Unpooling", "Upsample", "Custom",
];

fn runs_on_chip(layer: &Layer) -> bool {
    ON_CHIP.iter().any(|kind| kind.as_bytes() == layer.kind)
}

/// Whether a layer is for training and testing only: data, losses, measures. They never go to the chip.
fn stays_behind(layer: &Layer) -> bool {
    let kind = layer.kind.as_slice();
    let is_data = kind.ends_with(b"Data") || (layer.bottoms.is_empty() && kind != b"Parameter");
    is_data
        || kind.windows(4).any(|part| part == b"Loss")
        || matches!(kind, b"Accuracy" | b"Silence" | b"HDF5Output" | b"Proposal")
}
