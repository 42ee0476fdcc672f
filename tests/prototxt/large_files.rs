//! Large and deeply nested files: time grows linearly with size, and the stack does not overflow.

use std::time::Duration;

use gfpq::prototxt::{Document, Selection, Target, Weights, add_quant, check, strip_quant};

use crate::parse;

/// A net of at least `size` bytes.
fn large(size: usize, separator: &str) -> String {
    let mut text = String::from("name: 'large' input: 'b0'");
    let mut number = 0;
    while text.len() < size {
        let layer = format!(
            "{separator}layer {{{separator}  name: 'conv{number}' type: 'Convolution' bottom: 'b{number}' top: 'b{next}'\
             {separator}  convolution_param {{ num_output: 16 kernel_size: [3, 3] }}{separator}}}",
            next = number + 1
        );
        text.push_str(&layer);
        number += 1;
    }
    text
}

/// The processor time that this thread spends on some work. A busy machine takes longer, but spends no more.
fn time(work: impl FnOnce()) -> Duration {
    let now = || {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is valid for writes, and every Unix has this clock.
        assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let start = now();
    work();
    now() - start
}

fn everything(text: &str) {
    let added = add_quant(&parse(text), &Selection::default(), Weights::Quantised).unwrap();
    let with = parse(&added.text);
    assert_eq!(check(&with, &Selection::default(), Target::Train).unwrap().findings, []);
    assert_eq!(strip_quant(&with).unwrap().text, text.as_bytes());
}

#[test]
fn time_grows_linearly_with_size() {
    for separator in ["\n", " "] {
        let (small, big) = (large(1 << 17, separator), large(1 << 20, separator));
        everything(&small);
        let best = |text: &str| (0..3).map(|_| time(|| everything(text))).min().unwrap();
        let (small, big) = (best(&small), best(&big));
        // Eight times the size should take eight times as long; 24 leaves room for a busy machine. Quadratic time would give
        // 64.
        assert!(big < small * 24, "{small:?} for 128 KB, {big:?} for 1 MB");
    }
}

#[test]
fn ten_megabytes_are_parsed_within_a_second() {
    for text in [large(10 << 20, "\n"), large(10 << 20, " "), "a:1 ".repeat(5 << 19), "# comment\n".repeat(1 << 20)] {
        let taken = (0..3).map(|_| time(|| drop(parse(&text)))).min().unwrap();
        let limit = if cfg!(debug_assertions) { 15 } else { 1 };
        assert!(taken < Duration::from_secs(limit), "{taken:?} for {} bytes", text.len());
        println!("{taken:?} for {} bytes", text.len());
    }
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    let depth = 1_000_000;
    let text = "a{".repeat(depth) + &"}".repeat(depth);
    assert_eq!(parse(&text).as_bytes(), text.as_bytes());
    let open = "a { b [ ".repeat(depth);
    let error = Document::parse(open, "deep").unwrap_err();
    assert!(error.message.contains("found the end of the file") || error.message.contains("expected"), "{error}");
    let layer = format!("input: 'x' layer {{ bottom: 'x' type: 'Pooling' {text} }}");
    everything_once(&layer);
}

/// Texts of many layers of one kind, none of which a real net would have so many of.
fn repeated(shape: &str, many: usize) -> String {
    let each = |layer: fn(usize) -> String| (0..many).map(layer).collect::<String>();
    let pooling = |blob: &str| format!("layer {{ type: 'Pooling' bottom: '{blob}' }}\n");
    let body = match shape {
        "stages" => each(|i| format!("layer {{ type: 'Pooling' bottom: 'x' include {{ stage: 's{i}' }} }}\n")),
        "in place, in one phase" => {
            let rule = "include { phase: TRAIN }";
            format!(
                "layer {{ type: 'Convolution' bottom: 'x' top: 'y' {rule} }} \
                 layer {{ type: 'ReLU' bottom: 'x' top: 'x' {rule} }}\n"
            )
            .repeat(many)
        }
        "a chain and its readers" => each(|i| {
            format!(
                "layer {{ type: 'Quant' bottom: 'q{i}' top: 'q{next}' }} layer {{ type: 'Eltwise' bottom: 'q{next}' }}\n",
                next = i + 1
            )
        }),
        "Quants of one blob" => {
            let quants =
                each(|i| format!("layer {{ type: 'Quant' bottom: 'x' top: 'q{i}' include {{ stage: 's' }} }}\n"));
            quants + &pooling("x").repeat(many)
        }
        "Quants of another width" => {
            let quants = each(|i| {
                format!("layer {{ type: 'Quant' bottom: 'x' top: 'q{i}' quant_param {{ quant_bits: 16 }} }}\n")
            });
            quants + &pooling("x").repeat(many)
        }
        "bottoms of one layer" => {
            // In the file's only line, so that the search for a line end goes through the whole layer.
            return format!("layer {{ type: 'Pooling' {}}}", each(|i| format!("bottom: 'b{i}' ")));
        }
        _ => unreachable!("{shape}"),
    };
    format!("input: 'x' input: 'q0'\n{body}")
}

#[test]
fn many_of_a_kind_take_their_share() {
    let work = |text: &str| {
        let added = add_quant(&parse(text), &Selection::default(), Weights::AsTheyAre).unwrap();
        let _ = strip_quant(&parse(&added.text));
        let _ = check(&parse(&added.text), &Selection::default(), Target::Train);
    };
    let shapes = [
        // Beyond some thousands of stages not every one has a state of its own, and the work is another.
        ("stages", 100),
        ("in place, in one phase", 500),
        ("a chain and its readers", 500),
        ("Quants of one blob", 500),
        ("Quants of another width", 500),
        ("bottoms of one layer", 1000),
    ];
    for (shape, many) in shapes {
        let (small, big) = (repeated(shape, many), repeated(shape, 8 * many));
        let best = |text: &str| (0..3).map(|_| time(|| work(text))).min().unwrap();
        let (small, big) = (best(&small), best(&big));
        println!("{shape}: {small:?} for {many}, {big:?} for {}", 8 * many);
        // As above; the states grow with the stages, which is allowed.
        let most = if shape == "stages" { 96 } else { 24 };
        assert!(big < small * most + Duration::from_millis(100), "{shape}: {small:?}, {big:?}");
    }
}

fn everything_once(text: &str) {
    let added = add_quant(&parse(text), &Selection::default(), Weights::AsTheyAre).unwrap();
    assert_eq!(strip_quant(&parse(&added.text)).unwrap().text, text.as_bytes());
}

#[test]
fn malicious_texts_take_no_longer() {
    let many = 20_000;
    let in_place =
        "layer { type: 'Convolution' bottom: 'x' top: 'y' } layer { type: 'ReLU' bottom: 'x' top: 'x' }\n".repeat(many);
    let chain = |i: usize| format!("layer {{ type: 'Quant' bottom: 'q{i}' top: 'q{}' }}\n", i + 1);
    let chain: String = (0..many).map(chain).collect();
    let readers = "layer { type: 'Pooling' bottom: 'x' }\n".repeat(many);
    let phases = |i: usize| {
        format!("layer {{ top: 'x' type: 'D' include {{ stage: 's{i}' }} }} layer {{ type: 'Pooling' bottom: 'x' }}\n")
    };
    let phases: String = (0..300).map(phases).collect();
    let pairs: String = (0..3 * many).map(|i| format!("bottom: 'b{i}' top: 'b{i}' ")).collect();
    let pairs = format!("layer {{ type: 'Pooling' {pairs} }}\n");
    let texts = [
        ("in place", in_place),
        ("chain", chain),
        ("readers", readers),
        ("stages", phases),
        ("one layer's pairs", pairs),
    ];
    for (what, text) in texts {
        let text = format!("input: 'x'\n{text}layer {{ type: 'Eltwise' bottom: 'q{many}' }}");
        let work = || {
            let added = add_quant(&parse(&text), &Selection::default(), Weights::AsTheyAre).unwrap();
            let _ = strip_quant(&parse(&added.text));
            let _ = check(&parse(&added.text), &Selection::default(), Target::Train);
        };
        // A busy machine gets another try.
        let limit = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 4 });
        let taken = (0..3).map(|_| time(work)).find(|taken| *taken < limit);
        assert!(taken.is_some(), "{what}");
        println!("{what}: {taken:?}");
    }
}
