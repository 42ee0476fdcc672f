//! A new layer, written as its neighbour is.

use super::document::{Document, Field, Kind};
use super::edit::Place;
use super::literal;
use super::net::{Rule, Rules};
use crate::quant::Bits;

/// How a file writes its layers, read off one of them.
#[derive(Clone, Debug)]
pub(super) struct Style {
    /// From the field's name to the bracket: ` {`. An item of a list has no name.
    open: Vec<u8>,
    close: u8,
    is_item: bool,
    /// Between a scalar's name and its value: `: `.
    colon: Vec<u8>,
    quote: u8,
    /// The space before a layer's fields, `None` where the first stands on the layer's own line.
    indent: Option<Vec<u8>>,
    pub eol: &'static [u8],
}

/// What a Quant layer says.
pub(super) struct QuantText<'a> {
    pub name: &'a [u8],
    pub bottom: &'a [u8],
    pub top: &'a [u8],
    pub bits: Bits,
    pub rules: &'a Rules,
}

impl Style {
    /// The style of `layer`.
    pub fn of(document: &Document, layer: Field<'_>) -> Style {
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
        // Whole lines are put in after a line's end, or at the file's start, where one is looked for further on.
        let around = if layer.gap().start == 0 { source } else { &source[layer.gap().start..value.end] };
        let line_end = around.iter().position(|&b| b == b'\n');
        let is_dos = line_end.is_some_and(|at| at > 0 && around[at - 1] == b'\r');
        Style {
            open,
            close: if bracket == b'<' { b'>' } else { b'}' },
            is_item,
            colon: colon.to_vec(),
            quote,
            indent,
            eol: if is_dos { b"\r\n" } else { b"\n" },
        }
    }

    /// A Quant layer for `place`, ready to be spliced in.
    pub fn quant_layer(&self, place: &Place, quant: &QuantText<'_>) -> Vec<u8> {
        let between = match (&place.indent, &self.indent) {
            (Some(_), Some(inner)) => [self.eol, inner].concat(),
            _ => b" ".to_vec(),
        };
        let mut text = Vec::with_capacity(512);
        if !self.is_item {
            text.extend_from_slice(b"layer");
        }
        text.extend_from_slice(&self.open);
        for (name, value) in [("name", quant.name), ("type", b"Quant"), ("bottom", quant.bottom), ("top", quant.top)] {
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
        // Without this Caffe takes the layer's stored range for a trained parameter, and computes gradients below it
        // that nothing needs.
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

    /// A layer that is written elsewhere, for `place`.
    pub fn moved_layer(&self, place: &Place, layer: Field<'_>) -> Vec<u8> {
        let mut text = layer.text().to_vec();
        if self.is_item {
            text.push(b',');
        }
        place.text(&text, self.eol)
    }

    /// The net's own field that asks for quantised weights.
    pub fn weight_field(&self, place: &Place, bits: Bits, is_folded: bool) -> Vec<u8> {
        let mut text = Vec::new();
        self.quant_param(&mut text, "weight_quant_param", bits, is_folded);
        place.text(&text, self.eol)
    }

    /// A layer's own field for the width of its weights, `None` for floats.
    pub fn layer_field(&self, place: &Place, bits: Option<Bits>) -> Vec<u8> {
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
        self.scalar(text, name, &literal::encode(value, self.quote));
    }

    fn scalar(&self, text: &mut Vec<u8>, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), &self.colon, value] {
            text.extend_from_slice(part);
        }
    }
}

/// The space before a field that begins its line.
fn indentation(gap: &[u8]) -> Option<&[u8]> {
    let line = &gap[gap.iter().rposition(|&b| b == b'\n')? + 1..];
    line.iter().all(u8::is_ascii_whitespace).then_some(line)
}

/// A string's text saying `name`, where `value` says what `name` begins with: the end is put in, so that what the text
/// looked like stays.
pub(super) fn lengthened(value: Field<'_>, name: &[u8]) -> Vec<u8> {
    let (old, text) = (value.string(), value.value_text());
    let quote = text[text.len() - 1];
    match name.strip_prefix(old.as_slice()) {
        Some(end) => {
            let mut text = text[..text.len() - 1].to_vec();
            literal::encode_inside(end, quote, &mut text);
            text.push(quote);
            text
        }
        None => literal::encode(name, text[0]),
    }
}

/// The reverse of [`lengthened`].
pub(super) fn shortened(value: Field<'_>, name: &[u8]) -> Vec<u8> {
    let (old, text) = (value.string(), value.value_text());
    let quote = text[text.len() - 1];
    let cut = old.strip_prefix(name).and_then(|end| {
        let mut tail = Vec::new();
        literal::encode_inside(end, quote, &mut tail);
        tail.push(quote);
        let text = [text.strip_suffix(tail.as_slice())?, &[quote]].concat();
        (literal::decode(&text) == name).then_some(text)
    });
    cut.unwrap_or_else(|| literal::encode(name, text[0]))
}
