//! Properties that hold for any bytes. The fuzz target in `tests/fuzz` uses this file too.

use gfpq::prototxt::{Document, Field, Kind, Selection, Target, Weights, add_quant, check, strip_quant};

/// No input makes a command panic or hang. A text that parses prints as it was read, and a changed text parses again.
pub(crate) fn survive(bytes: &[u8]) {
    let Ok(document) = Document::parse(bytes, "any") else { return };
    assert_eq!(document.as_bytes(), bytes);
    assert_tiled(&document);
    let _ = check(&document, &Selection::default(), Target::Train);
    if let Ok(added) = add_quant(&document, &Selection::default(), Weights::Quantised) {
        let with = read(&added.text);
        assert_eq!(add_quant(&with, &Selection::default(), Weights::Quantised).unwrap().text, added.text);
        if let (Ok(before), Ok(after)) = (strip_quant(&document), strip_quant(&with)) {
            // A bottom that was rewired to a Quant layer of the text itself gets its name back, but perhaps not its escapes.
            match before.removed.is_empty() {
                true => assert_eq!(String::from_utf8_lossy(&after.text), String::from_utf8_lossy(&before.text)),
                false => assert_eq!(meaning(&read(&after.text)), meaning(&read(&before.text))),
            }
        }
    }
    if let Ok(stripped) = strip_quant(&document) {
        read(&stripped.text);
    }
}

fn read(text: &[u8]) -> Document {
    Document::parse(text, "changed").unwrap_or_else(|error| panic!("{error}"))
}

/// All fields in order: depth, name and value.
fn meaning(document: &Document) -> Vec<(usize, Vec<u8>, Vec<u8>)> {
    let mut open: Vec<_> = document.root().children().map(|field| (0, field)).collect();
    open.reverse();
    let mut fields = Vec::new();
    while let Some((depth, field)) = open.pop() {
        let value = match field.kind() {
            Kind::String => field.string().into(),
            Kind::Message | Kind::List => Vec::new(),
            _ => field.value_text().to_vec(),
        };
        fields.push((depth, field.name().to_vec(), value));
        let children: Vec<_> = field.children().map(|child| (depth + 1, child)).collect();
        open.extend(children.into_iter().rev());
    }
    fields
}

/// Every byte of the source belongs to exactly one token or to the space between two tokens.
pub(crate) fn assert_tiled(document: &Document) {
    let source = document.as_bytes();
    let mut open: Vec<Field<'_>> = document.root().children().collect();
    open.reverse();
    let mut done = 0;
    while let Some(field) = open.pop() {
        assert_eq!(field.gap().end, field.range().start);
        assert!(done <= field.gap().start, "fields overlap");
        // Between a field and the gap of the next one there are only separators and the ends of messages and lists.
        assert!(is_made_of(&source[done..field.gap().start], "{}<>[],;"), "{:?}", &source[done..field.gap().start]);
        assert!(is_made_of(&source[field.gap()], ""), "{:?}", String::from_utf8_lossy(&source[field.gap()]));
        done = field.value_range().start;
        match field.kind() {
            Kind::Message | Kind::List => {
                done += 1;
                let mut children: Vec<_> = field.children().collect();
                children.reverse();
                open.extend(children);
            }
            _ => done = field.value_range().end,
        }
    }
}

/// Whether a text consists of spaces, comments and these characters.
fn is_made_of(text: &[u8], characters: &str) -> bool {
    let text = String::from_utf8_lossy(text);
    text.trim_start_matches('\u{feff}').split('\n').all(|line| {
        let code = line.split('#').next().unwrap_or_default();
        code.chars().all(|c| " \t\r\u{b}\u{c}".contains(c) || characters.contains(c))
    })
}
