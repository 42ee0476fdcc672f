//! Edits to caffe.proto: a field in LayerParameter, a field in NetParameter, and the message that is their type.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use super::cpp_syntax::tokens;
use super::next_field_number::NextAvailable;
use super::proto_schema::{Message, message};
use crate::patch::error::Error;
use crate::patch::source_text::Text;
use crate::patch::template;

/// Field numbers that protobuf keeps for itself.
const RESERVED: Range<u32> = 19_000..20_000;

/// The numbers of the two new fields in a tree's caffe.proto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldNumbers {
    /// `quant_param` in LayerParameter.
    pub layer: u32,
    /// `weight_quant_param` in NetParameter.
    pub net: u32,
}

impl FieldNumbers {
    /// Those for the last caffe.proto that BVLC published.
    pub const STOCK: FieldNumbers = FieldNumbers { layer: 149, net: 9 };
}

/// The lines that go into each place, with their indentation.
pub(crate) struct Snippets {
    /// The field of LayerParameter.
    pub layer_field: String,
    /// The field of NetParameter, with its comment.
    pub net_field: String,
    /// The message that both fields have as their type, followed by a blank line.
    pub message: String,
}

impl Snippets {
    /// Renders them for a tree's field numbers.
    pub(crate) fn new(numbers: FieldNumbers) -> Result<Snippets, Error> {
        Ok(Snippets {
            layer_field: format!("  optional QuantParameter quant_param = {};\n", numbers.layer),
            net_field: template::render("src/caffe/proto/net_field.proto", &[("number", numbers.net.to_string())])?,
            message: template::render("src/caffe/proto/quant_parameter.proto", &[])?,
        })
    }
}

/// Makes all edits of caffe.proto.
///
/// # Errors
/// When the file already has a `quant_param`, or lacks what the edits attach to.
pub(crate) fn edit(path: &Path, text: &mut Text) -> Result<FieldNumbers, Error> {
    let missing = |wanted: &str| Error::NoPlace { path: path.into(), wanted: wanted.into() };
    let source = text.as_str();
    for name in ["quant_param", "weight_quant_param", "QuantParameter"] {
        if tokens(source).any(|(_, token)| token == name) {
            return Err(Error::QuantPresent { path: path.into(), what: format!("the name {name}") });
        }
    }

    let layer = message(source, "LayerParameter").ok_or_else(|| missing("a message LayerParameter"))?;
    let net = message(source, "NetParameter").ok_or_else(|| missing("a message NetParameter"))?;
    let comment = NextAvailable::find(source, "LayerParameter");
    let numbers = FieldNumbers { layer: next_layer_number(&layer, comment.as_ref()), net: next_net_number(&net) };

    let layer_end = layer_place(&layer).ok_or_else(|| missing("a field in LayerParameter"))?;
    let net_end = net_place(&net).ok_or_else(|| missing("a field in NetParameter"))?;
    let neighbour = message(source, "PythonParameter").map_or(layer.span.end, |python| python.span.end);
    let behind = |end| {
        let at = text.end_of_logical_line(end);
        at..at
    };

    let snippets = Snippets::new(numbers)?;
    let mut edits = vec![
        (behind(layer_end), snippets.layer_field),
        (behind(net_end), snippets.net_field),
        (behind(neighbour), format!("\n{}", snippets.message)),
    ];
    edits.extend(comment.map(|comment| {
        let mut taken = layer.taken.clone();
        taken.insert(numbers.layer);
        let last = if comment.names_last { " (last added: quant_param)" } else { "" };
        (comment.span, format!("{}{last}", first_free(&taken, numbers.layer + 1)))
    }));

    // From the end of the file to its start, so that the offsets still to come stay valid.
    edits.sort_by_key(|(place, _)| Reverse(place.start));
    for (place, with) in edits {
        if place.is_empty() { text.insert_lines(place.start, &with) } else { text.replace(place, &with) }
    }

    // A block comment that begins behind a field and ends on a later line would have swallowed the inserted one.
    let has = |name: &str, field: &str, number: u32| {
        message(text.as_str(), name)
            .is_some_and(|message| message.fields.iter().any(|own| own.name == field && own.number == number))
    };
    if !has("LayerParameter", "quant_param", numbers.layer) || !has("NetParameter", "weight_quant_param", numbers.net) {
        return Err(missing("a line of its own behind the fields of LayerParameter and NetParameter"));
    }
    Ok(numbers)
}

/// The end of the field to insert behind: Caffe keeps the layers' parameters in alphabetical order.
fn layer_place(layer: &Message) -> Option<usize> {
    let before_quant = layer.fields.iter().filter(|field| field.name.ends_with("_param") && field.name < "quant_param");
    before_quant.max_by_key(|field| field.name).or(layer.fields.last()).map(|field| field.span.end)
}

/// The end of the field to insert behind: the last one before `layer`, behind which only deprecated fields follow.
fn net_place(net: &Message) -> Option<usize> {
    let layers = net.fields.iter().find(|field| field.name == "layer").map_or(net.span.end, |field| field.span.start);
    net.fields.iter().rfind(|field| field.span.end <= layers).map(|field| field.span.end)
}

/// The first free number, from the comment's on if there is a comment, else above all in use.
fn next_layer_number(layer: &Message, comment: Option<&NextAvailable>) -> u32 {
    let above_all = layer.taken.last().map_or(1, |max| max + 1);
    first_free(&layer.taken, comment.map_or(above_all, |comment| comment.number))
}

/// A number below that of `layer` if one is free there: protobuf prints fields by number, and Caffe has layers printed
/// last.
fn next_net_number(net: &Message) -> u32 {
    let layers = net.fields.iter().find(|field| field.name == "layer").map_or(u32::MAX, |field| field.number);
    let below = net.taken.iter().rev().find(|&&number| number < layers).map_or(1, |max| max + 1);
    if below < layers { below } else { first_free(&net.taken, below) }
}

fn first_free(taken: &BTreeSet<u32>, from: u32) -> u32 {
    (from..)
        .find(|number| !taken.contains(number) && !RESERVED.contains(number))
        .expect("a file cannot take every number")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"syntax = "proto2"; // message LayerParameter { = 7 }
message NetParameter {
  optional string name = 1; // consider { this
  repeated int32 input_dim = 4;
  optional bool debug_info = 7 [default = false];

  // The layers.
  repeated LayerParameter layer = 100;  // last
  repeated V1LayerParameter layers = 2;
}

// Update the next available ID when you add a new LayerParameter field.
//
// LayerParameter next available layer-specific ID: 147 (last added: recurrent_param)
message LayerParameter {
  optional string name = 1; // the layer name
  enum Mode { A = 150; B = 151; }
  oneof one { int32 early = 147; }
  reserved 148, 149 to 150;
  optional PythonParameter python_param = 130;
  optional ReLUParameter relu_param = 123;
  optional float x = 201 [default = 1];
}

/* message PythonParameter { } */
message PythonParameter {
  optional string module = 1;
}
"#;

    fn edited(source: &str) -> (FieldNumbers, String) {
        let mut text = Text::from_bytes(source.as_bytes());
        let numbers = edit(Path::new("caffe.proto"), &mut text).unwrap();
        (numbers, text.as_str().to_owned())
    }

    #[test]
    fn field_numbers_in_use_are_skipped() {
        let (numbers, text) = edited(SOURCE);
        assert_eq!(numbers, FieldNumbers { layer: 151, net: 8 });
        assert!(text.contains("ID: 152 (last added: quant_param)\n"));
        assert!(text.contains("python_param = 130;\n  optional QuantParameter quant_param = 151;\n  optional ReLU"));
        assert!(text.contains("module = 1;\n}\n\nmessage QuantParameter {") || text.contains("\n}\n\n// "));
    }

    #[test]
    fn without_the_comment_the_number_is_above_all_in_use() {
        let source = SOURCE.replace("available layer-specific ID", "free");
        assert_eq!(edited(&source).0.layer, 202);
    }

    #[test]
    fn a_block_comment_across_the_place_is_refused() {
        let source = SOURCE.replace("python_param = 130;", "python_param = 130; /* see\n the guide */");
        assert_ne!(source, SOURCE);
        let error = edit(Path::new("caffe.proto"), &mut Text::from_bytes(source.as_bytes())).unwrap_err();
        assert!(matches!(error, Error::NoPlace { .. }), "{error}");
    }

    #[test]
    fn a_file_with_quant_param_is_refused() {
        let mut text = Text::from_bytes(edited(SOURCE).1.as_bytes());
        let error = edit(Path::new("caffe.proto"), &mut text).unwrap_err();
        assert!(matches!(error, Error::QuantPresent { .. }), "{error}");
    }
}
