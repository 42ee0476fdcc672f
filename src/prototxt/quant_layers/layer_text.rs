//! The text of a new layer or field, in the style of a neighbouring layer: its brackets, quotes, colons, indentation and
//! line ends.

use bstr::BString;

use crate::prototxt::net::{Rule, Rules};
use crate::prototxt::nnie::QUANT;
use crate::prototxt::text::{Document, Field, Kind, Place, encode};
use crate::quant::Bits;

/// A Quant layer that is added to a net.
#[derive(Clone, Debug)]
pub struct Added {
    /// The layer's name.
    pub name: BString,
    /// The blob that it quantises.
    pub blob: BString,
    /// The blob that it makes: its own name, or `blob` where it works in place.
    pub top: BString,
    /// Its bit width.
    pub bits: Bits,
    /// The layers that read its top, by name and type. It stands in front of the first.
    pub readers: Vec<(BString, BString)>,
    /// Its `include` and `exclude` rules.
    pub rules: Rules,
}

/// The style in which a file writes its layers, taken from one of them.
#[derive(Clone, Debug)]
pub(super) struct LayerText {
    /// The text between a layer's field name and its fields, such as ` {`.
    open: Vec<u8>,
    close: u8,
    /// Whether the layer is an item of a list, which has no field name.
    is_item: bool,
    /// The text between a scalar's name and its value, such as `: `.
    colon: Vec<u8>,
    quote: u8,
    /// The indentation of a layer's fields; `None` where the first field stands on the layer's own line.
    indent: Option<Vec<u8>>,
    /// The line end of the file.
    eol: &'static [u8],
}

impl LayerText {
    /// The style of `layer`.
    pub(super) fn like(document: &Document, layer: Field<'_>) -> LayerText {
        let source = document.as_bytes();

        let is_item = layer.name().is_empty();
        let value = layer.value_range();
        let between = &source[layer.range().start + layer.name().len()..value.start];
        let bracket = source[value.start];
        let open = match between.iter().all(|b| matches!(b, b':' | b' ' | b'\t')) {
            true => [between, &[bracket]].concat(),
            false => vec![b' ', bracket],
        };

        let text = layer.children().find(|field| field.kind() == Kind::String);
        let quote = text.map_or(b'"', |field| field.value_text()[0]);
        let colon = text
            .map(|field| &source[field.range().start + field.name().len()..field.value_range().start])
            .filter(|between| between.iter().all(|b| matches!(b, b':' | b' ' | b'\t')))
            .unwrap_or(b": ");

        let first = layer.children().next();
        let indent = first.and_then(|field| indentation(&source[field.gap()])).map(<[u8]>::to_vec);

        // The first layer of a file has no line end before it, so the file's first line end is taken.
        let around = if layer.gap().start == 0 { source } else { &source[layer.gap().start..value.end] };
        let line_end = around.iter().position(|&b| b == b'\n');
        let is_dos = line_end.is_some_and(|at| at > 0 && around[at - 1] == b'\r');

        LayerText {
            open,
            close: if bracket == b'<' { b'>' } else { b'}' },
            is_item,
            colon: colon.to_vec(),
            quote,
            indent,
            eol: if is_dos { b"\r\n" } else { b"\n" },
        }
    }

    /// The text of a Quant layer to insert at `place`.
    pub(super) fn quant_layer(&self, place: &Place, quant: &Added) -> Vec<u8> {
        let between = match (&place.indent, &self.indent) {
            (Some(_), Some(inner)) => [self.eol, inner].concat(),
            _ => b" ".to_vec(),
        };

        let mut text = Vec::with_capacity(512);
        if !self.is_item {
            text.extend_from_slice(b"layer");
        }
        text.extend_from_slice(&self.open);
        let strings: [(&str, &[u8]); 4] =
            [("name", &quant.name), ("type", QUANT.as_bytes()), ("bottom", &quant.blob), ("top", &quant.top)];
        for (name, value) in strings {
            text.extend_from_slice(&between);
            self.string(&mut text, name, value);
        }
        for (name, rules) in [("include", &quant.rules.include), ("exclude", &quant.rules.exclude)] {
            for rule in rules {
                text.extend_from_slice(&between);
                self.rule(&mut text, name, rule);
            }
        }
        text.extend_from_slice(&between);
        // Without lr_mult 0 Caffe would treat the layer's stored range as a trained parameter, and compute gradients for
        // the layers below that nothing needs.
        self.message(&mut text, "param", |text| {
            self.number(text, "lr_mult", 0);
            self.number(text, "decay_mult", 0);
        });
        text.extend_from_slice(&between);
        self.quant_param(&mut text, "quant_param", quant.bits, false);

        match (&place.indent, &self.indent) {
            (Some(outer), Some(_)) => text.extend_from_slice(&[self.eol, outer].concat()),
            _ => text.push(b' '),
        }
        text.push(self.close);
        if self.is_item {
            text.push(b',');
        }
        place.text(&text, self.eol)
    }

    /// The text of an existing layer, to insert at `place`.
    pub(super) fn moved_layer(&self, place: &Place, layer: Field<'_>) -> Vec<u8> {
        let mut text = layer.text().to_vec();
        if self.is_item {
            text.push(b',');
        }
        place.text(&text, self.eol)
    }

    /// The net's field that asks for quantised weights, to insert at `place`.
    pub(super) fn weight_quant_param(&self, place: &Place, bits: Bits, is_folded: bool) -> Vec<u8> {
        let mut text = Vec::new();
        self.quant_param(&mut text, "weight_quant_param", bits, is_folded);
        place.text(&text, self.eol)
    }

    /// A layer's field for the bit width of its weights, to insert at `place`; without `bits` they stay float.
    pub(super) fn layer_quant_param(&self, place: &Place, bits: Option<Bits>) -> Vec<u8> {
        let mut text = Vec::new();
        self.message(&mut text, "quant_param", |text| match bits {
            Some(bits) => self.number(text, "quant_bits", bits.number().into()),
            None => self.number(text, "quant_en", 0),
        });
        place.text(&text, self.eol)
    }

    fn quant_param(&self, text: &mut Vec<u8>, name: &str, bits: Bits, is_folded: bool) {
        self.message(text, name, |text| {
            self.number(text, "quant_bits", bits.number().into());
            self.number(text, "quant_en", 1);
            if is_folded {
                self.number(text, "fold_batch_norm", 1);
            }
        });
    }

    fn rule(&self, text: &mut Vec<u8>, name: &str, rule: &Rule) {
        self.message(text, name, |text| {
            if let Some(phase) = rule.phase {
                text.push(b' ');
                self.scalar(text, "phase", phase.name().as_bytes());
            }
            for (name, level) in [("min_level", rule.min_level), ("max_level", rule.max_level)] {
                if let Some(level) = level {
                    self.number(text, name, level);
                }
            }
            for (name, stages) in [("stage", &rule.stages), ("not_stage", &rule.not_stages)] {
                for stage in stages {
                    text.push(b' ');
                    self.string(text, name, stage);
                }
            }
        });
    }

    /// A message on one line.
    fn message(&self, text: &mut Vec<u8>, name: &str, fields: impl FnOnce(&mut Vec<u8>)) {
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b" {");
        fields(text);
        text.extend_from_slice(b" }");
    }

    fn number(&self, text: &mut Vec<u8>, name: &str, value: i64) {
        text.push(b' ');
        self.scalar(text, name, value.to_string().as_bytes());
    }

    fn string(&self, text: &mut Vec<u8>, name: &str, value: &[u8]) {
        self.scalar(text, name, &encode(value, self.quote));
    }

    fn scalar(&self, text: &mut Vec<u8>, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), &self.colon, value] {
            text.extend_from_slice(part);
        }
    }
}

/// The indentation of a field, if it is the first on its line.
fn indentation(gap: &[u8]) -> Option<&[u8]> {
    let line = &gap[gap.iter().rposition(|&b| b == b'\n')? + 1..];
    line.iter().all(u8::is_ascii_whitespace).then_some(line)
}
