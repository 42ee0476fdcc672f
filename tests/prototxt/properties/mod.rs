//! Properties that hold for any net and any text.

mod random;
pub(super) mod survive;

use gfpq::prototxt::{Fault, Selection, Target, Weights, add_quant, check, strip_quant};
use gfpq::quant::Bits;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{parse, there_and_back};
use random::{Choices, net};
use survive::{assert_tiled, survive};

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
    fn adding_twice_changes_nothing_and_stripping_undoes_it(choices in vec(any::<u8>(), 0..600)) {
        let text = net(&mut Choices::new(&choices));
        if parse(&text).root().children().next().is_some() {
            there_and_back(&text);
        }
    }

    #[test]
    fn the_same_holds_with_any_selection(
        choices in vec(any::<u8>(), 0..400),
        sixteen in any::<bool>(),
        glob in "[*?b0-9]{1,3}",
    ) {
        let text = net(&mut Choices::new(&choices));
        prop_assume!(parse(&text).root().children().next().is_some());
        let bits = if sixteen { Bits::Sixteen } else { Bits::Eight };
        let globs = [glob];
        let selection = Selection::new(bits).with_types(&["Eltwise".to_owned()]).unwrap().with_sixteen(&globs).unwrap();
        let some = selection.clone().without(&globs).unwrap();
        let with_some = add_quant(&parse(&text), &some, Weights::AsTheyAre).unwrap().text;
        // The second call adds the layers that the first one left out.
        let with_all = add_quant(&parse(&with_some), &selection, Weights::Quantised).unwrap().text;
        prop_assert_eq!(&add_quant(&parse(&with_all), &selection, Weights::Quantised).unwrap().text, &with_all);
        for with in [with_some, with_all] {
            prop_assert_eq!(strip_quant(&parse(&with)).unwrap().text, text.as_bytes());
        }
    }

    #[test]
    fn the_output_of_add_quant_has_no_errors(choices in vec(any::<u8>(), 0..600)) {
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
    fn any_bytes_are_parsed_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        survive(&bytes);
    }

    #[test]
    fn any_text_of_the_formats_characters_is_parsed_or_refused(text in "[a-c \n:;,{}<>\\[\\]\"'#0-9x.\\-e\\\\]{0,80}") {
        survive(text.as_bytes());
    }
}
