//! check: the findings of each kind.

use gfpq::prototxt::{EditError, Fault, Report, Selection, Severity, Target, check};
use gfpq::quant::Bits;

use crate::{added, fixture, parse};

fn report(text: &str, target: Target) -> Report {
    check(&parse(text), &Selection::default(), target).unwrap()
}

fn faults(text: &str) -> Vec<(Fault, String)> {
    report(text, Target::Train).findings.into_iter().map(|f| (f.fault, f.layer.to_string())).collect()
}

#[test]
fn the_output_of_add_quant_has_no_findings() {
    for name in ["odd.prototxt", "train_val.prototxt", "residual.prototxt"] {
        assert_eq!(faults(&added(&fixture(name))), [], "{name}");
        assert_eq!(report(&fixture(name), Target::Compiler).findings, [], "{name}");
    }
}

#[test]
fn every_fault_is_found() {
    let named = |fault, layer: &str| (fault, layer.to_owned());
    let text = "input: 'x'
        layer { name: 'q' type: 'Quant' bottom: 'x' top: 'xq' quant_param { quant_bits: 16 } }
        layer { name: 'qq' type: 'Quant' bottom: 'xq' top: 'xqq' }
        layer { name: 'idle' type: 'Quant' bottom: 'x' top: 'idle' }
        layer { name: 'odd' type: 'Quant' bottom: 'x' }
        layer { name: 'c1' type: 'Convolution' bottom: 'x' top: 'c1' }
        layer { name: 'c2' type: 'Convolution' bottom: 'xq' top: 'c2' }
        layer { name: 'c3' type: 'Convolution' bottom: 'xqq' top: 'c3' }
        layer { name: 'lost' type: 'Eltwise' bottom: 'nowhere' top: 'lost' }
        layer { name: 'boxes' type: 'DetectionOutput' bottom: 'c1' top: 'boxes' }";
    let expected = [
        named(Fault::TwoInARow, "qq"),
        named(Fault::FeedsNothing, "idle"),
        named(Fault::NotPairs, "odd"),
        named(Fault::Unfed, "c1"),
        named(Fault::OtherWidth, "c2"),
        named(Fault::MissingBlob, "lost"),
        named(Fault::NoHardware, "boxes"),
    ];
    assert_eq!(faults(text), expected);
    let report = report(text, Target::Train);
    assert_eq!((report.count(Severity::Error), report.count(Severity::Warning)), (5, 2));
    assert_eq!((report.layers, report.computed, report.quants), (9, 3, 4));
    assert_eq!(report.findings[0].line, 3);
}

#[test]
fn findings_name_the_phase() {
    let text = "layer { name: 'd' type: 'Data' top: 'x' }
        layer { name: 'q' type: 'Quant' bottom: 'x' top: 'x' include { phase: TRAIN } }
        layer { name: 'c' type: 'Convolution' bottom: 'x' top: 'c' }
        layer { name: 'v' type: 'Data' top: 'v' include { phase: TRAIN } }
        layer { name: 'sum' type: 'Eltwise' bottom: 'v' top: 's' }";
    let messages: Vec<_> = report(text, Target::Train).findings.into_iter().map(|finding| finding.message).collect();
    assert_eq!(messages, ["`x` does not come from a Quant layer in TEST", "nothing makes `v` in TEST"]);
}

#[test]
fn a_phase_without_data_is_not_checked() {
    let text = "layer { name: 'd' type: 'Data' top: 'x' include { phase: TRAIN } }
        layer { name: 'relu' type: 'ReLU' bottom: 'x' top: 'x' }";
    assert_eq!(faults(text), []);
}

#[test]
fn quant_layers_are_errors_for_the_compiler() {
    let text = "input: 'x' layer { name: 'q' type: 'Quant' bottom: 'x' top: 'q' }
        layer { type: 'Pooling' bottom: 'q' top: 'p' }";
    let found = report(text, Target::Compiler).findings;
    assert_eq!(found.iter().map(|finding| finding.fault).collect::<Vec<_>>(), [Fault::QuantLeft]);
}

#[test]
fn a_solver_is_refused() {
    let refuse = |text| check(&parse(text), &Selection::default(), Target::Train).unwrap_err();
    assert_eq!(refuse("net: 'x'"), EditError::NoLayers);
    assert_eq!(refuse("# nothing"), EditError::Empty);
}

#[test]
fn data_must_have_the_width_of_the_layers_quant_param() {
    let net = |own: &str| {
        format!(
            "input: 'x' layer {{ name: 'q' type: 'Quant' bottom: 'x' top: 'q' quant_param {{ quant_bits: 16 }} }}
            layer {{ name: 'c' type: 'Convolution' {own} bottom: 'q' top: 'c' }}"
        )
    };
    assert_eq!(faults(&net("")), [(Fault::OtherWidth, "c".to_owned())]);
    assert_eq!(faults(&net("quant_param { quant_bits: 16 }")), []);
}

#[test]
fn a_quant_that_is_switched_off_is_found() {
    let text = "input: 'x' layer { name: 'q' type: 'Quant' bottom: 'x' top: 'q' quant_param { quant_en: false } }
        layer { type: 'Pooling' bottom: 'q' top: 'p' }";
    assert_eq!(faults(text), [(Fault::SwitchedOff, "q".to_owned())]);
    assert_eq!(report(text, Target::Train).count(Severity::Error), 0);
}

#[test]
fn what_caffe_or_the_compiler_would_refuse_is_found() {
    let named = |fault, layer: &str| (fault, layer.to_owned());
    let net = |quant: &str, own: &str| {
        format!(
            "input: 'x' layer {{ name: 'q' type: 'Quant' bottom: 'x' top: 'q' {quant} }}
            layer {{ name: 'c' type: 'Pooling' bottom: 'q' top: 'c' {own} }}"
        )
    };
    assert_eq!(faults(&net("quant_param { quant_bits: 7 }", ""))[0], named(Fault::BadBits, "q"));
    assert_eq!(faults(&net("", "quant_param { quant_bits: 32 }"))[0], named(Fault::BadBits, "c"));
    assert_eq!(faults("weight_quant_param { quant_bits: 4 } layer { name: 'a' }"), [named(Fault::BadBits, "")]);
    for param in ["param { }", "param { lr_mult: 1 }", "param { decay_mult: 0 }"] {
        assert_eq!(faults(&net(param, "")), [named(Fault::TrainedRange, "q")], "{param}");
    }
    for param in ["", "param { lr_mult: 0 }", "param { lr_mult: 0.0f }"] {
        assert_eq!(faults(&net(param, "")), [], "{param}");
    }
    let again = |rule: &str| {
        let two = "layer { name: 'q' type: 'Quant' bottom: 'x' top: 'r'";
        format!("{} {two} {rule} }} layer {{ type: 'Eltwise' bottom: 'r' }}", net("include { phase: TRAIN }", ""))
    };
    let same = |text: &str| faults(text).into_iter().filter(|(fault, _)| *fault == Fault::SameName).count();
    assert_eq!((same(&again("")), same(&again("include { phase: TEST }"))), (1, 0));
    let text = "weight_quant_param { } layer { name: 'c' type: 'Pooling' quant_param { } }";
    let left: Vec<_> =
        report(text, Target::Compiler).findings.into_iter().map(|f| (f.fault, f.layer.to_string())).collect();
    assert_eq!(left, [named(Fault::QuantLeft, ""), named(Fault::QuantLeft, "c")]);
}

#[test]
fn legacy_nets_are_told_to_upgrade() {
    let found = report(&fixture("old.prototxt"), Target::Train).findings;
    assert_eq!(found[0].fault, Fault::OldLayers);
    assert!(found[0].message.contains("upgrade_net_proto_text") && found[1..].iter().all(|f| f.fault == Fault::Unfed));
}

#[test]
fn weight_quant_param_gives_the_width_and_quant_en_leaves_a_layer_out() {
    let text = "weight_quant_param { quant_bits: 16 } input: 'x'
        layer { name: 'q' type: 'Quant' bottom: 'x' top: 'q' quant_param { quant_bits: 16 } }
        layer { name: 'c' type: 'Convolution' bottom: 'q' top: 'c' }
        layer { name: 'd' type: 'Convolution' quant_param { quant_en: 0 } bottom: 'x' top: 'd' }";
    assert_eq!(faults(text), []);
    let eight = check(&parse(text), &Selection::new(Bits::Eight), Target::Train).unwrap().findings;
    assert_eq!(eight.iter().map(|finding| finding.fault).collect::<Vec<_>>(), [Fault::OtherWidth]);
}
