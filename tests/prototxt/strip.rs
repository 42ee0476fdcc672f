//! strip_quant on Quant layers that were written by hand.

use gfpq::prototxt::{EditError, strip_quant};

use crate::{parse, stripped};

#[test]
fn the_layer_of_the_vendors_guide_is_removed_with_its_lines() {
    let net = |quant: &str, bottom: &str| {
        format!(
            "input: 'data'\n\n{quant}layer {{\n  name: 'conv'\n  type: 'Convolution'\n  bottom: '{bottom}'\n  top: 'conv'\n}}\n"
        )
    };
    let quant = "layer\n{\n  name: 'quant_layer_sample'\n  type: 'Quant'\n  bottom: 'data'\n  top: 'quant_layer_sample'\n  \
        quant_param\n  {\n    quant_bits: 8\n    quant_en: 1\n  }\n}\n\n";
    assert_eq!(stripped(&net(quant, "quant_layer_sample")), net("", "data"));
}

#[test]
fn quant_layers_in_place_with_several_pairs_and_in_chains_are_removed() {
    let text = "input: 'a' input: 'b'
layer { name: 'q' type: 'Quant' bottom: 'a' bottom: 'b' top: 'a' top: 'b_q' }
layer { name: 'again' type: 'Quant' bottom: 'b_q' top: 'b_qq' quant_param { quant_bits: 16 } }
layer { name: 'sum' type: 'Eltwise' bottom: 'a' bottom: 'b_qq' top: \"sum\" }
layer { name: 'relu' type: 'ReLU' bottom: 'b_q' top: 'b_q' }
layer { name: 'c' type: 'Convolution' bottom: 'b_q' top: 'c' }
";
    let expected = "input: 'a' input: 'b'
layer { name: 'sum' type: 'Eltwise' bottom: 'a' bottom: 'b' top: \"sum\" }
layer { name: 'relu' type: 'ReLU' bottom: 'b' top: 'b_q' }
layer { name: 'c' type: 'Convolution' bottom: 'b_q' top: 'c' }
";
    assert_eq!(stripped(text), expected);
}

#[test]
fn a_layer_that_shares_its_line_is_removed_alone() {
    let quant = "layer { name: 'q' type: 'Quant' bottom: 'a' top: 'q' };";
    let text = format!("input: 'a' {quant} layer {{ bottom: 'q' }} # kept\n  {quant} # of the quant\n");
    assert_eq!(stripped(&text), "input: 'a' layer { bottom: 'a' } # kept\n  # of the quant\n");
    let list = "input: 'a' layer: [ { bottom: 'q' }, { type: 'Quant' bottom: 'a' top: 'q' } ]";
    let stripped_list = stripped(list);
    assert_eq!(stripped_list, "input: 'a' layer: [ { bottom: 'q' } ]");
    parse(stripped_list);
    let list = "input: 'a' layer: [ { bottom: 'a' } # this one\n , { type: 'Quant' bottom: 'a' top: 'q' } ]";
    assert_eq!(stripped(list), "input: 'a' layer: [ { bottom: 'a' } # this one\n  ]");
}

#[test]
fn readers_in_each_phase_read_the_blob_before_the_quant_layer() {
    let text = "input: 'a'
layer { name: 'q' type: 'Quant' bottom: 'a' top: 'x' include { phase: TRAIN } }
layer { name: 'q' type: 'Quant' bottom: 'a' top: 'x' include { phase: TEST } }
layer { name: 'c' type: 'Convolution' bottom: 'x' top: 'c' }
";
    assert_eq!(stripped(text), "input: 'a'\nlayer { name: 'c' type: 'Convolution' bottom: 'a' top: 'c' }\n");
}

fn stuck(text: &str) -> String {
    match strip_quant(&parse(text)) {
        Err(EditError::Stuck { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_removal_that_changes_the_computation_is_refused() {
    let reason = stuck(
        "input: 'a' layer { name: 'q' type: 'Quant' bottom: 'a' top: 'q' }
         layer { name: 'r' type: 'ReLU' bottom: 'a' top: 'a' }
         layer { name: 'c' type: 'Convolution' bottom: 'q' top: 'c' }",
    );
    assert!(reason.contains("written over in place before `c`"), "{reason}");
    let reason = stuck(
        "input: 'a' input: 'b' layer { type: 'Quant' bottom: 'a' top: 'q' include { phase: TRAIN } }
         layer { type: 'Quant' bottom: 'b' top: 'q' include { phase: TEST } } layer { bottom: 'q' }",
    );
    assert!(reason.contains("another phase"), "{reason}");
    assert!(stuck("layer { type: 'Quant' bottom: 'a' top: 'q' top: 'r' }").contains("pairs"));
}

#[test]
fn a_net_without_quant_layers_is_unchanged() {
    for text in ["layer { name: 'x' bottom: 'nothing' }", "net: 'x'", "layers { type: POOLING bottom: 'x' }"] {
        assert_eq!(stripped(text), text);
    }
}

#[test]
fn weight_quant_param_is_removed() {
    let text = "name: 'n'\nweight_quant_param {\n  quant_bits: 8\n}\nlayer { name: 'x' }\n";
    assert_eq!(stripped(text), "name: 'n'\nlayer { name: 'x' }\n");
    assert_eq!(stripped("weight_quant_param { } layer { }"), "layer { }");
}

#[test]
fn the_quant_param_of_a_layer_is_removed() {
    let text = "layer {\n  type: 'PReLU'\n  quant_param { quant_bits: 16 }\n  top: 'x'\n}\n";
    assert_eq!(stripped(text), "layer {\n  type: 'PReLU'\n  top: 'x'\n}\n");
    assert_eq!(stripped("layer { quant_param { } quant_param { } top: 'x' }"), "layer { top: 'x' }");
}

#[test]
fn a_lost_output_gets_a_warning() {
    let text = "input: 'x' layer { name: 'q' type: 'Quant' bottom: 'x' top: 'prob' }";
    let warnings = strip_quant(&parse(text)).unwrap().warnings;
    assert_eq!(warnings, ["the net's output `prob` is gone with `q`: it is `x` now"]);
    let read = format!("{text} layer {{ type: 'Softmax' bottom: 'prob' top: 'y' }}");
    assert!(strip_quant(&parse(&read)).unwrap().warnings.is_empty());
}
