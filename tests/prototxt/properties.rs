//! What holds for any net and any text, and a long run of damaged texts for who has an hour.

use std::time::{Duration, Instant};

use gfpq::prototxt::{Document, Fault, Kind, Selection, Target, Weights, add_quant, check, strip_quant};
use gfpq::quant::Bits;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::document::assert_tiled;
use crate::random::{Choices, net};
use crate::{fixture, parse, there_and_back};

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_document_prints_as_it_was_read(choices in vec(any::<u8>(), 0..600)) {
        let text = net(&mut Choices::new(&choices));
        let document = parse(&text);
        prop_assert_eq!(document.as_bytes(), text.as_bytes());
        assert_tiled(&document);
    }

    #[test]
    fn quant_layers_go_in_once_and_out_again(choices in vec(any::<u8>(), 0..600)) {
        let text = net(&mut Choices::new(&choices));
        if parse(&text).root().children().next().is_some() {
            there_and_back(&text);
        }
    }

    #[test]
    fn so_they_do_with_any_selection(
        choices in vec(any::<u8>(), 0..400),
        sixteen in any::<bool>(),
        glob in "[*?b0-9]{1,3}",
    ) {
        let text = net(&mut Choices::new(&choices));
        prop_assume!(parse(&text).root().children().next().is_some());
        let bits = if sixteen { Bits::Sixteen } else { Bits::Eight };
        let globs = [glob];
        let selection = Selection::new(bits).with_types(["Eltwise".to_owned()]).with_sixteen(&globs).unwrap();
        let some = selection.clone().without(&globs).unwrap();
        let with_some = add_quant(&parse(&text), &some, Weights::AsTheyAre).unwrap().text;
        // Those left out at first are added the second time.
        let with_all = add_quant(&parse(&with_some), &selection, Weights::Quantised).unwrap().text;
        prop_assert_eq!(&add_quant(&parse(&with_all), &selection, Weights::Quantised).unwrap().text, &with_all);
        for with in [with_some, with_all] {
            prop_assert_eq!(strip_quant(&parse(&with)).unwrap().text, text.as_bytes());
        }
    }

    #[test]
    fn what_was_added_is_right(choices in vec(any::<u8>(), 0..600)) {
        let text = net(&mut Choices::new(&choices));
        prop_assume!(text.contains("layer"));
        let added = add_quant(&parse(&text), &Selection::default(), Weights::AsTheyAre).unwrap();
        let report = check(&parse(&added.text), &Selection::default(), Target::Train).unwrap();
        let wrong: Vec<_> = report.findings.iter().filter(|finding| finding.fault != Fault::MissingBlob).collect();
        let is_right = wrong.iter().all(|finding| finding.fault == Fault::NoHardware);
        prop_assert!(is_right, "{wrong:?}\n{}", String::from_utf8_lossy(&added.text));
        prop_assert_eq!(report.quants, added.added.len());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        survive(&bytes);
    }

    #[test]
    fn any_text_of_its_characters_is_read_or_refused(text in "[a-c \n:;,{}<>\\[\\]\"'#0-9x.\\-e\\\\]{0,80}") {
        survive(text.as_bytes());
    }
}

/// Nothing panics or hangs, whatever the bytes; what parses prints, and what can be changed stays parseable.
fn survive(bytes: &[u8]) {
    let Ok(document) = Document::parse(bytes, "any") else { return };
    assert_eq!(document.as_bytes(), bytes);
    assert_tiled(&document);
    let _ = check(&document, &Selection::default(), Target::Train);
    if let Ok(added) = add_quant(&document, &Selection::default(), Weights::Quantised) {
        let with = parse(&added.text);
        assert_eq!(add_quant(&with, &Selection::default(), Weights::Quantised).unwrap().text, added.text);
        if let (Ok(before), Ok(after)) = (strip_quant(&document), strip_quant(&with)) {
            // A bottom that went to a Quant layer of the text's own comes back with its name, not with its spelling.
            match before.removed.is_empty() {
                true => assert_eq!(String::from_utf8_lossy(&after.text), String::from_utf8_lossy(&before.text)),
                false => assert_eq!(meaning(&parse(&after.text)), meaning(&parse(&before.text))),
            }
        }
    }
    if let Ok(stripped) = strip_quant(&document) {
        parse(&stripped.text);
    }
}

/// All fields in order: how deep, what name, what value.
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

/// Damages fixtures and random nets for GFPQ_FUZZ_SECONDS (60):
/// `cargo test --release --test prototxt -- --ignored --nocapture damaged`
#[test]
#[ignore = "as long as one likes"]
fn damaged_texts_are_read_or_refused() {
    let seconds = std::env::var("GFPQ_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(60);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut state = std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64);
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as usize) % below.max(1)
    };
    let fixtures = ["odd.prototxt", "train_val.prototxt", "residual.prototxt", "old.prototxt"].map(fixture);
    let words = [
        "layer",
        "{",
        "}",
        "[",
        "]",
        "<",
        ">",
        ":",
        ",",
        ";",
        "\"",
        "'",
        "\\",
        "#",
        "\n",
        "type: 'Quant'",
        "top: 'data'",
        "bottom: 'conv1'",
        "type: 'Pooling'",
        "include { phase: TEST }",
        "\0",
        "\u{feff}",
        "-",
        "inf",
        "0x",
        "1e",
        "layers",
        "[a.b]",
    ];
    let (mut runs, mut read, mut slowest) = (0u64, 0u64, Duration::ZERO);
    while Instant::now() < end {
        let mut bytes = match next(2) {
            0 => fixtures[next(fixtures.len())].clone().into_bytes(),
            _ => net(&mut Choices::new(&(0..next(400)).map(|_| next(256) as u8).collect::<Vec<_>>())).into_bytes(),
        };
        for _ in 0..=next(6) {
            let (at, to) = (next(bytes.len() + 1), next(bytes.len() + 1));
            match next(6) {
                0 => bytes.truncate(at),
                1 => drop(bytes.splice(at.min(to)..at.max(to).min(at.min(to) + 40), [])),
                2 if at < bytes.len() => bytes[at] = next(256) as u8,
                3 => drop(bytes.splice(at..at, bytes[at.min(to)..at.max(to).min(at.min(to) + 80)].to_vec())),
                _ => drop(bytes.splice(at..at, format!(" {} ", words[next(words.len())]).into_bytes())),
            }
        }
        let start = Instant::now();
        let outcome = std::panic::catch_unwind(|| survive(&bytes));
        if outcome.is_err() {
            let path = std::env::temp_dir().join("gfpq-damaged.prototxt");
            std::fs::write(&path, &bytes).unwrap();
            panic!("the text is in {}", path.display());
        }
        slowest = slowest.max(start.elapsed());
        read += u64::from(Document::parse(bytes, "any").is_ok());
        runs += 1;
    }
    println!("{runs} texts in {seconds} s, {read} of them read; the slowest took {slowest:?}");
    assert!(slowest < Duration::from_secs(1));
}
