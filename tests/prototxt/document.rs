//! The document: the texts it reads and refuses, and its error messages.

use gfpq::prototxt::Document;

use crate::properties::survive::assert_tiled;
use crate::{fixture, parse};

#[test]
fn a_document_prints_as_it_was_read() {
    for name in ["odd.prototxt", "train_val.prototxt", "residual.prototxt", "old.prototxt"] {
        let text = fixture(name);
        let document = parse(&text);
        assert_eq!(document.as_bytes(), text.as_bytes(), "{name}");
        assert_tiled(&document);
    }
}

#[test]
fn every_form_of_the_text_format_is_read() {
    let document = parse(
        "\u{feff}a: 1; b: -2, c: 0x1F d: 017 e: 1.5e-3f f: .5 g: 2. h: -inf i: nan j: 'x' \"y\"\n 'z' # end\n\
         k { l < m: [1, 2] n [ {}, < o: 'p' > ] > }\r\n\
         [some.extension/Name]: true [ext] { } 17: 'unknown' q: [] r: - 3 s: \"\\n\\x41\\101\\u00e9\\\"\"",
    );
    let root = document.root();
    let names: Vec<_> = root.children().map(|field| String::from_utf8_lossy(field.name()).into_owned()).collect();
    let expected = "a b c d e f g h i j k [some.extension/Name] [ext] 17 q r s";
    assert_eq!(names.join(" "), expected);
    assert_eq!(root.first("j").unwrap().string(), "xyz");
    assert_eq!(root.first("s").unwrap().string(), "\nAAé\"");
    assert_eq!(root.first("r").unwrap().value_text(), b"- 3");
    let list = root.first("k").unwrap().first("l").unwrap();
    assert_eq!(list.all("m").map(|item| item.string().to_string()).collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(list.all("n").nth(1).unwrap().first("o").unwrap().string(), "p");
    assert_eq!(root.all("q").count(), 0);
    assert_tiled(&document);
}

#[test]
fn text_of_any_encoding_is_kept() {
    let mut text = b"# \xb2\xe3\nlayer { name: \"\xbe\xed\xbb\xfd\" type: \"Data\" top: \"\xbe\" }".to_vec();
    let document = parse(&text);
    assert_eq!(document.as_bytes(), text);
    let layer = document.root().first("layer").unwrap();
    assert_eq!(layer.first("name").unwrap().string(), b"\xbe\xed\xbb\xfd".as_slice());
    text.push(0xff);
    assert!(Document::parse(text, "f").is_err());
}

#[test]
fn syntax_errors_say_where_and_what() {
    let cases = [
        ("a: 1\nlayer {\n  name: \"x\"\n", 4, 1, "what `layer` opens on line 2 is not closed"),
        ("layer { name: \"x\" }\n}", 2, 1, "expected a field name, found `}`"),
        ("layer { name \"x\" }", 1, 14, "expected `:` or `{` after the field name `name`, found `\"x\"`"),
        ("layer { name: }", 1, 15, "expected a value"),
        ("layer { name: 'x }\n", 1, 15, "expected ' before the end of the line"),
        ("layer < name: 'x' }", 1, 19, "expected a field name or `>`, found `}`"),
        ("a: 'é' b: 0x", 1, 11, "expected a number, found `0x`"),
        ("a: 09", 1, 4, "expected a number"),
        ("a: 1.2.3", 1, 4, "expected a number"),
        ("a: 3b: 4", 1, 4, "expected a number, found `3b`"),
        ("a: [1 2]", 1, 7, "expected `,` or `]`"),
        ("a: [1, ]", 1, 8, "expected a value after `,`"),
        ("a: [[1]]", 1, 5, "expected a value"),
        ("a: [1, 2", 1, 9, "not closed"),
        ("a: - x:", 1, 7, "expected a field name, found `:`"),
        ("a: -'x'", 1, 5, "expected a number after `-`"),
        ("a: 1;;", 1, 6, "expected a field name, found `;`"),
        ("// a: 1", 1, 1, "expected a field name"),
        ("a: '\\q'", 1, 5, "expected an escape"),
        ("a: '\\", 1, 5, "expected an escape"),
        ("[a.b: 1", 1, 5, "expected an extension's name and `]`"),
        ("a: @", 1, 4, "`@`"),
        ("Ünit: 1", 1, 1, "no place outside strings and comments"),
    ];
    for (text, line, column, message) in cases {
        let error = Document::parse(text, "net.prototxt").unwrap_err();
        assert_eq!((error.line, error.column), (line, column), "{text:?}: {error}");
        assert!(error.message.contains(message), "{text:?}: {error}");
    }
}

#[test]
fn a_syntax_error_shows_the_line_with_a_caret() {
    let error = Document::parse("a: 1\n\tlayer conv }\n", "dir/net.prototxt").unwrap_err();
    let expected = "dir/net.prototxt:2:8: expected `:` or `{` after the field name `layer`, found `conv`\n  \
                    2 |  layer conv }\n    |        ^";
    assert_eq!(error.to_string(), expected);
    let long = format!("{} b c", "a: 1 ".repeat(100_000));
    let error = Document::parse(long, "net.prototxt").unwrap_err().to_string();
    assert!(error.len() < 400, "{error}");
}

#[test]
fn binary_data_is_recognised() {
    let model = b"\n\x05LeNet\xa2\x06\x10\n\x04data\x12\x04Data\x00\x00\x80?".to_vec();
    let error = Document::parse(model, "lenet.caffemodel").unwrap_err();
    assert!(error.message.contains("binary data"), "{error}");
}
