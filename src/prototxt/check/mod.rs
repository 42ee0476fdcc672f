//! Checks that a net's Quant layers are where they belong, and finds the layers that the NNIE cannot run.

mod report;

use std::collections::HashMap;

use bstr::BString;

use super::error::EditError;
use super::net::{Form, Net, Phase, Port, Producer, StateSet, Wiring};
use super::nnie::{self, QUANT};
use super::quant_layers::Selection;
use super::text::Document;
use crate::quant::Bits;

pub use report::{Fault, Finding, Report, Severity};

/// What a net is meant for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Training with the quantiser in the loop: Quant layers feed the layers that the NNIE computes.
    #[default]
    Train,
    /// The NNIE compiler, which quantises by itself and knows no Quant layer.
    Compiler,
}

/// Checks every net in a document.
///
/// # Errors
/// Those of [`Net::all`]; [`EditError::NoLayers`].
pub fn check(document: &Document, selection: &Selection, target: Target) -> Result<Report, EditError> {
    let nets = Net::all(document)?;
    if nets.is_empty() {
        return Err(EditError::NoLayers);
    }

    let mut report = Report::default();
    for net in &nets {
        let own = net.weight_quant_param;
        let of_net = Bits::from_number(own.width()).filter(|_| own.is_present());
        let selection = &selection.clone().or_bits(of_net);
        let (wiring, intended) = (&net.wiring(), net.intended_states());
        let mut checker = Checker { net, intended, document, wiring, selection, report: &mut report };
        checker.weight_quant_param(target);
        checker.layers(target);
    }
    Ok(report)
}

struct Checker<'a> {
    net: &'a Net,
    /// The states in which the net is meant to run.
    intended: StateSet,
    document: &'a Document,
    wiring: &'a Wiring,
    selection: &'a Selection,
    report: &'a mut Report,
}

impl Checker<'_> {
    fn layers(&mut self, target: Target) {
        let net = self.net;
        if (net.form, target) == (Form::Legacy, Target::Train) {
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
        let own = layer.quant_param;
        if let Some(bits) = own.bits.filter(|&bits| Bits::from_number(bits).is_none()) {
            self.find(Fault::BadBits, number, None, bad_bits(bits));
        }

        match (target, self.selection.width_of(layer)) {
            (Target::Compiler, _) if own.is_present() => {
                let message = "a quant_param, which the NNIE compiler does not know: strip-quant takes it out";
                self.find(Fault::QuantLeft, number, None, message.to_owned());
            }
            // The layer's own quant_param is for its weights, but add-quant gives its data the same bit width.
            (Target::Train, Some(bits)) if !own.is_off => {
                for bottom in 0..layer.bottoms.len() {
                    self.is_fed((number, bottom), own.bits.unwrap_or(bits.number()));
                }
            }
            _ => {}
        }
    }

    fn weight_quant_param(&mut self, target: Target) {
        let own = self.net.weight_quant_param;
        let Some(id) = own.id else { return };

        let bits = own.width();
        let bad = Bits::from_number(bits).is_none().then(|| (Fault::BadBits, bad_bits(bits)));
        let left = (target == Target::Compiler).then(|| {
            let message = "a weight_quant_param, which the NNIE compiler does not know: strip-quant takes it out";
            (Fault::QuantLeft, message.to_owned())
        });
        let line = self.document.line_starts().line(self.document.field(id).value_range().start);
        for (fault, message) in bad.into_iter().chain(left) {
            let (layer, kind) = (BString::default(), BString::default());
            self.report.findings.push(Finding { fault, line, layer, kind, blob: None, message });
        }
    }

    fn blobs_are_made(&mut self, number: usize) {
        for (bottom, blob) in self.net.layers[number].bottoms.iter().enumerate() {
            let missing = self.wiring.wire(number, bottom).missing.and(&self.intended);
            if !missing.is_empty() {
                let is_everywhere = missing == self.net.layers[number].states.and(&self.intended);
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

        let own = layer.quant_param;
        if Bits::from_number(own.width()).is_none() {
            self.find(Fault::BadBits, number, None, bad_bits(own.width()));
        }

        // lr_mult is 1 by default in Caffe, and the layer refuses to have its range trained.
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

        let widths: Vec<u32> = self.quants_behind(at).map(|quant| net.layers[quant].quant_param.width()).collect();
        if let Some(bits) = widths.into_iter().find(|&bits| bits != wanted) {
            let message = format!("`{blob}` is quantised in {bits} bit, and the layer is to be computed in {wanted}");
            self.find(Fault::OtherWidth, at.0, Some(blob), message);
        }
    }

    fn has_hardware(&mut self, number: usize) {
        let layer = &self.net.layers[number];
        let is_deployed = layer.states.meets(&self.net.states.in_phase(Phase::Test));
        let known = self.selection.has_type(&layer.kind) || layer.kind == QUANT;
        if is_deployed && !known && !nnie::runs_on_chip(&layer.kind) && !nnie::stays_behind(layer) {
            let message = format!(
                "the NNIE has no hardware for `{}`: its compiler takes it as Custom or Proposal, which run on the CPU",
                layer.kind
            );
            self.find(Fault::NoHardware, number, None, message);
        }
    }

    /// The Quant layers that make what a bottom reads.
    fn quants_behind(&self, (layer, bottom): Port) -> impl Iterator<Item = usize> {
        let net = self.net;
        let layers = self.wiring.wire(layer, bottom).sources.iter().filter_map(|source| source.producer.layer());
        layers.filter(|&layer| net.layers[layer].kind == QUANT)
    }

    /// The states in words, such as ` in TRAIN`; nothing for all states.
    fn in_states(&self, states: &StateSet) -> String {
        if *states == self.net.states.all() {
            String::new()
        } else {
            format!(" in {}", self.net.states.describe(states))
        }
    }

    fn find(&mut self, fault: Fault, number: usize, blob: Option<&BString>, message: String) {
        let layer = &self.net.layers[number];
        let (line, layer, kind) = (layer.line, layer.name.clone(), layer.kind.clone());
        self.report.findings.push(Finding { fault, line, layer, kind, blob: blob.cloned(), message });
    }
}

fn bad_bits(bits: u32) -> String {
    format!("quant_bits is {bits}, and the NNIE computes in 8 or 16")
}
