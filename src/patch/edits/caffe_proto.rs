//! Edits to caffe.proto: the layer's parameter, the net's field, their message.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use crate::patch::error::Error;
use crate::patch::source_text::Text;
use crate::patch::template;

/// Numbers that protobuf keeps for itself.
const RESERVED: Range<u32> = 19_000..20_000;

/// The numbers of the two fields in a tree's caffe.proto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldNumbers {
    /// `quant_param` in LayerParameter.
    pub layer: u32,
    /// `weight_quant_param` in NetParameter.
    pub net: u32,
}

impl FieldNumbers {
    /// Those of BVLC's last caffe.proto.
    pub const STOCK: FieldNumbers = FieldNumbers { layer: 149, net: 9 };
}

/// The lines that go into each place, with their indentation.
pub struct Snippets {
    /// A field of LayerParameter.
    pub layer_field: String,
    /// A field of NetParameter, with its comment.
    pub net_field: String,
    /// The message both have as their type, a blank line behind it.
    pub message: String,
}

impl Snippets {
    /// Renders them for a tree's field numbers.
    pub fn new(numbers: FieldNumbers) -> Result<Snippets, Error> {
        Ok(Snippets {
            layer_field: format!("  optional QuantParameter quant_param = {};\n", numbers.layer),
            net_field: template::render("src/caffe/proto/net_field.proto", &[("number", numbers.net.to_string())])?,
            message: template::render("src/caffe/proto/quant_parameter.proto", &[])?,
        })
    }
}

/// One statement of a message body: `optional Type name = 3 [default = 1];` and the like.
#[derive(Debug)]
struct Field<'a> {
    name: &'a str,
    number: u32,
    span: Range<usize>,
}

/// A message's fields and where its body ends.
#[derive(Debug)]
struct Message<'a> {
    span: Range<usize>,
    fields: Vec<Field<'a>>,
    /// Numbers that fields, `reserved` and `extensions` take.
    taken: BTreeSet<u32>,
}

/// Plans all edits of caffe.proto.
///
/// # Errors
/// When the file already has a `quant_param`, or lacks what the edits attach to.
pub fn edit(path: &Path, text: &mut Text) -> Result<FieldNumbers, Error> {
    let missing = |wanted: &str| Error::NoPlace { path: path.into(), wanted: wanted.into() };
    let source = text.as_str();
    for name in ["quant_param", "weight_quant_param", "QuantParameter"] {
        if tokens(source).any(|(_, token)| token == name) {
            return Err(Error::QuantPresent { path: path.into(), what: format!("the name {name}") });
        }
    }
    let layer = message(source, "LayerParameter").ok_or_else(|| missing("a message LayerParameter"))?;
    let net = message(source, "NetParameter").ok_or_else(|| missing("a message NetParameter"))?;
    let note = NextAvailable::find(source, "LayerParameter");

    let numbers = FieldNumbers { layer: next_layer_number(&layer, note.as_ref()), net: next_net_number(&net) };
    let snippets = Snippets::new(numbers)?;

    // The new field stands in alphabetical order among the layers' parameters, as all of them do.
    let layer_at = layer
        .fields
        .iter()
        .filter(|field| field.name.ends_with("_param") && field.name < "quant_param")
        .max_by_key(|field| field.name)
        .or(layer.fields.last())
        .map(|field| text.end_of_logical_line(field.span.end))
        .ok_or_else(|| missing("a field in LayerParameter"))?;
    // Before `layer`, which ends the fields in use.
    let layers = net.fields.iter().find(|field| field.name == "layer").map_or(net.span.end, |field| field.span.start);
    let net_at = net
        .fields
        .iter()
        .rfind(|field| field.span.end <= layers)
        .map(|field| text.end_of_logical_line(field.span.end))
        .ok_or_else(|| missing("a field in NetParameter"))?;
    let neighbour =
        message(source, "PythonParameter").unwrap_or(message(source, "LayerParameter").expect("found above"));
    let message_at = text.end_of_logical_line(neighbour.span.end);

    let mut insertions = vec![
        (layer_at, snippets.layer_field),
        (net_at, snippets.net_field),
        (message_at, format!("\n{}", snippets.message)),
    ];
    let note = note.map(|note| {
        let mut taken = layer.taken.clone();
        taken.insert(numbers.layer);
        let last = if note.names_last { " (last added: quant_param)" } else { "" };
        (note.span, format!("{}{last}", first_free(&taken, numbers.layer + 1)))
    });
    // From the back, so that earlier offsets hold.
    insertions.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let comment_at = note.as_ref().map_or(0, |(span, _)| span.start);
    let (behind, before): (Vec<_>, Vec<_>) = insertions.into_iter().partition(|(at, _)| *at > comment_at);
    for (at, lines) in behind {
        text.insert_lines(at, &lines);
    }
    if let Some((span, with)) = note {
        text.replace(span, &with);
    }
    for (at, lines) in before {
        text.insert_lines(at, &lines);
    }
    // A comment that begins behind a field and goes on below it would have swallowed the line.
    let has = |name: &str, field: &str, number: u32| {
        message(text.as_str(), name)
            .is_some_and(|message| message.fields.iter().any(|own| own.name == field && own.number == number))
    };
    if !has("LayerParameter", "quant_param", numbers.layer) || !has("NetParameter", "weight_quant_param", numbers.net) {
        return Err(missing("a line of its own behind the fields of LayerParameter and NetParameter"));
    }
    Ok(numbers)
}

/// The comment's number where it is free, else the next free one; without a comment one above all in use.
fn next_layer_number(layer: &Message, note: Option<&NextAvailable>) -> u32 {
    let after_all = layer.taken.last().map_or(1, |max| max + 1);
    first_free(&layer.taken, note.map_or(after_all, |note| note.number))
}

/// Below `layer`'s own number where there is room, since Caffe has layers printed last.
fn next_net_number(net: &Message) -> u32 {
    let layers = net.fields.iter().find(|field| field.name == "layer").map_or(u32::MAX, |field| field.number);
    let below = net.taken.iter().rev().find(|&&number| number < layers).map_or(1, |max| max + 1);
    if below < layers { below } else { first_free(&net.taken, below) }
}

fn first_free(taken: &BTreeSet<u32>, from: u32) -> u32 {
    (from..).find(|number| !taken.contains(number) && !RESERVED.contains(number)).expect("numbers are plenty")
}

/// The comment by which Caffe's authors hand on the next number: `… next available layer-specific ID: 149 (last …)`.
struct NextAvailable {
    number: u32,
    /// From the number to the closing parenthesis, where the line has one.
    span: Range<usize>,
    /// Whether the span names the field added last.
    names_last: bool,
}

impl NextAvailable {
    fn find(source: &str, message: &str) -> Option<NextAvailable> {
        let mut offset = 0;
        for line in source.split_inclusive('\n') {
            let comment = line.trim_start();
            // Above it stands a reminder to update it, with the same words and no number.
            if comment.starts_with("//")
                && comment.contains(message)
                && comment.contains("next available")
                && let Some(note) = NextAvailable::read(line, offset)
            {
                return Some(note);
            }
            offset += line.len();
        }
        None
    }

    fn read(line: &str, offset: usize) -> Option<NextAvailable> {
        let colon = line.find("ID:")? + 3;
        let start = colon + (line[colon..].len() - line[colon..].trim_start().len());
        let digits = line[start..].bytes().take_while(u8::is_ascii_digit).count();
        let number = line[start..start + digits].parse().ok()?;
        // Without its end on this line, what follows the number stays as it is.
        let note = line[start..].find(')').map(|at| start + at + 1);
        let span = offset + start..offset + note.unwrap_or(start + digits);
        Some(NextAvailable { number, span, names_last: note.is_some() })
    }
}

/// Words, numbers and single punctuation marks with their offsets; comments and strings are passed over.
fn tokens(source: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = source.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let rest = &source[at..];
            let start = at;
            if rest.starts_with("//") {
                at += rest.find('\n').unwrap_or(rest.len());
            } else if let Some(comment) = rest.strip_prefix("/*") {
                at += comment.find("*/").map_or(rest.len(), |end| end + 4);
            } else if bytes[at] == b'"' || bytes[at] == b'\'' {
                let quote = bytes[at];
                at += 1;
                while at < bytes.len() && bytes[at] != quote {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at = (at + 1).min(bytes.len());
            } else if bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_' {
                at += rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
                return Some((start, &source[start..at]));
            } else {
                at += rest.chars().next().map_or(1, char::len_utf8);
                if bytes[start].is_ascii_punctuation() {
                    return Some((start, &source[start..at]));
                }
            }
        }
        None
    })
}

/// Finds the top-level message `name` and reads its fields, those of a `oneof` included.
fn message<'a>(source: &'a str, name: &str) -> Option<Message<'a>> {
    let mut tokens = tokens(source).peekable();
    let mut depth = 0;
    let start = loop {
        let (at, token) = tokens.next()?;
        match token {
            "{" => depth += 1,
            "}" => depth -= 1,
            "message" if depth == 0 && tokens.peek().is_some_and(|&(_, next)| next == name) => break at,
            _ => {}
        }
    };
    tokens.find(|&(_, token)| token == "{")?;

    let mut message = Message { span: start..start, fields: Vec::new(), taken: BTreeSet::new() };
    let mut statement: Vec<(usize, &str)> = Vec::new();
    // What each open brace belongs to: a oneof's fields are the message's own.
    let mut blocks: Vec<bool> = Vec::new();
    for (at, token) in tokens {
        match token {
            "{" => {
                blocks.push(statement.first().is_some_and(|&(_, word)| word == "oneof"));
                statement.clear();
            }
            "}" if blocks.is_empty() => {
                message.span.end = at + 1;
                return Some(message);
            }
            "}" => {
                blocks.pop();
                statement.clear();
            }
            ";" => {
                if blocks.iter().all(|&is_oneof| is_oneof) {
                    message.read_statement(&statement, at + 1);
                }
                statement.clear();
            }
            _ => statement.push((at, token)),
        }
    }
    None
}

impl<'a> Message<'a> {
    fn read_statement(&mut self, statement: &[(usize, &'a str)], end: usize) {
        let Some(&(start, first)) = statement.first() else { return };
        let words: Vec<&str> = statement.iter().map(|&(_, token)| token).collect();
        match first {
            "option" => {}
            "reserved" | "extensions" => self.take_ranges(&words[1..]),
            _ => {
                let Some(equals) = words.iter().position(|&word| word == "=") else { return };
                let (Some(&name), Some(Ok(number))) =
                    (words[..equals].last(), words.get(equals + 1).map(|w| w.parse()))
                else {
                    return;
                };
                self.taken.insert(number);
                self.fields.push(Field { name, number, span: start..end });
            }
        }
    }

    /// `2, 15, 9 to 11, 100 to max`. What runs to `max` is open: its start alone is kept out of use.
    fn take_ranges(&mut self, words: &[&str]) {
        for range in words.split(|&word| word == ",") {
            match range {
                [one] => self.taken.extend(one.parse::<u32>()),
                [from, "to", to] => {
                    if let (Ok(from), Ok(to)) = (from.parse::<u32>(), to.parse::<u32>()) {
                        self.taken.extend(from..=to.min(from.saturating_add(100_000)));
                    } else {
                        self.taken.extend(from.parse::<u32>());
                    }
                }
                _ => {}
            }
        }
    }
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
    fn numbers_in_use_are_passed_over() {
        let (numbers, text) = edited(SOURCE);
        assert_eq!(numbers, FieldNumbers { layer: 151, net: 8 });
        assert!(text.contains("ID: 152 (last added: quant_param)\n"));
        assert!(text.contains("python_param = 130;\n  optional QuantParameter quant_param = 151;\n  optional ReLU"));
        assert!(text.contains("module = 1;\n}\n\nmessage QuantParameter {") || text.contains("\n}\n\n// "));
    }

    #[test]
    fn without_a_comment_the_number_is_above_all() {
        let source = SOURCE.replace("available layer-specific ID", "free");
        assert_eq!(edited(&source).0.layer, 202);
    }

    #[test]
    fn a_comment_over_the_place_is_refused() {
        let source = SOURCE.replace("python_param = 130;", "python_param = 130; /* see\n the guide */");
        assert_ne!(source, SOURCE);
        let error = edit(Path::new("caffe.proto"), &mut Text::from_bytes(source.as_bytes())).unwrap_err();
        assert!(matches!(error, Error::NoPlace { .. }), "{error}");
    }

    #[test]
    fn a_second_quant_is_refused() {
        let mut text = Text::from_bytes(edited(SOURCE).1.as_bytes());
        let error = edit(Path::new("caffe.proto"), &mut text).unwrap_err();
        assert!(matches!(error, Error::QuantPresent { .. }), "{error}");
    }
}
