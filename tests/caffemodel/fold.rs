//! Folding: the weights, the prototxt, and the layers that cannot be folded.

use gfpq::caffemodel::{Error, Model, fold};

use crate::{blob, document, layer, parse, values};

const NET: &str = "\
# a net
layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv'
  param { lr_mult: 1 }  # no bias
  convolution_param { num_output: 2 kernel_size: 1 bias_term: false } }
layer { name: 'bn' type: 'BatchNorm' bottom: 'conv' top: 'conv/bn' batch_norm_param { eps: 0.25 } }
# gamma and beta
layer {
  name: 'scale'  type: 'Scale'  bottom: 'conv/bn'  top: 'conv/bn'
  param { lr_mult: 1 decay_mult: 0 }
  param { lr_mult: 2 decay_mult: 0 }
  scale_param { bias_term: true }
}
layer { name: 'relu' type: 'ReLU' bottom: 'conv/bn' top: 'conv/bn' }
layer { name: 'q' type: 'Quant' bottom: 'conv/bn' top: 'q' }
layer { name: 'fc' type: 'InnerProduct' bottom: 'q' top: 'fc' inner_product_param { num_output: 1 } }
";

const FOLDED: &str = "\
# a net
layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv/bn'
  param { lr_mult: 1 }
  param { lr_mult: 2 decay_mult: 0 }  # no bias
  convolution_param { num_output: 2 kernel_size: 1 bias_term: true } }
# gamma and beta
layer { name: 'relu' type: 'ReLU' bottom: 'conv/bn' top: 'conv/bn' }
layer { name: 'q' type: 'Quant' bottom: 'conv/bn' top: 'q' }
layer { name: 'fc' type: 'InnerProduct' bottom: 'q' top: 'fc' inner_product_param { num_output: 1 } }
";

/// The BatchNorm's variances are (2, 0.75) and its means (1, -3), stored as sums with a count of 4. With the eps of 0.25
/// the standard deviations are 1.5 and 1.
fn model() -> Vec<u8> {
    [
        layer("conv", "Convolution", &[blob(&[2, 2, 1, 1], &[1.0, 2.0, -3.0, 4.0])]),
        layer("bn", "BatchNorm", &[blob(&[2], &[4.0, -12.0]), blob(&[2], &[8.0, 3.0]), blob(&[1], &[4.0])]),
        layer("scale", "Scale", &[blob(&[2], &[3.0, -0.5]), blob(&[2], &[0.5, 0.0])]),
        layer("q", "Quant", &[blob(&[1, 2], &[8.0, -60.0])]),
        layer("fc", "InnerProduct", &[blob(&[1, 2], &[1.0, 1.0]), blob(&[1], &[0.0])]),
    ]
    .concat()
}

#[test]
fn weights_bias_and_prototxt_are_folded() {
    let model = parse(model());
    let folded = fold(&document(NET), &model).unwrap();
    assert_eq!(String::from_utf8(folded.net.clone()).unwrap(), FOLDED);
    assert!(folded.left.is_empty());
    let account = &folded.layers[0];
    assert_eq!((account.name.to_string(), account.bias_added, account.constant), ("conv".into(), true, 0));
    assert_eq!(account.factors, Some((0.5, 2.0)));

    let new = parse(folded.model.to_vec());
    // Factors 3 / 1.5 and -0.5 / 1; offsets -1 * 2 + 0.5 and 3 * -0.5.
    assert_eq!(values(&new, "conv", 0), [2.0, 4.0, 1.5, -2.0]);
    assert_eq!(values(&new, "conv", 1), [-1.5, -1.5]);
    let names: Vec<_> = new.layers().iter().map(|layer| layer.name.to_string()).collect();
    assert_eq!(names, ["conv", "q", "fc"]);

    // The model's own copy of the layer gets `bias_term: true` and the new name of the top.
    let conv = bytes_before_fc(folded.model.to_vec());
    assert!(conv.windows(5).any(|bytes| bytes == [0xd2, 0x06, 2, 0x10, 1]), "convolution_param {{ bias_term: true }}");
    assert!(conv.windows(9).any(|bytes| bytes == b"\x22\x07conv/bn"));

    // Folding the result again finds nothing to fold.
    let again = fold(&document(FOLDED), &new).unwrap();
    assert_eq!((again.net.as_slice(), again.layers.len()), (FOLDED.as_bytes(), 0));
    assert_eq!(again.model.to_vec(), new.as_bytes());
}

/// A model's bytes up to the layer `fc`.
fn bytes_before_fc(bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.windows(2).position(|window| window == b"fc").unwrap_or(bytes.len());
    bytes[..end].to_vec()
}

#[test]
fn frozen_weights_get_a_frozen_bias() {
    let net = NET.replace("param { lr_mult: 1 }  #", "param { lr_mult: 0 decay_mult: 0 }  #");
    let text = fold(&document(&net), &parse(model())).unwrap().net;
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.matches("param { lr_mult: 0 decay_mult: 0 }").count(), 2, "{text}");
}

/// Folds NET with `from` replaced by `to`; returns the layers that are not folded, with the reasons.
fn left(from: &str, to: &str) -> Vec<(String, String)> {
    assert!(NET.contains(from), "{from}");
    left_of(&NET.replace(from, to), &parse(model()))
}

/// Folds a net; returns the layers that are not folded, with the reasons.
fn left_of(net: &str, model: &Model) -> Vec<(String, String)> {
    let folded = fold(&document(net), model).unwrap();
    let all = folded.left.iter().map(|left| (left.name.to_string(), left.reason.clone())).collect();
    if folded.layers.is_empty() {
        assert_eq!((folded.net.as_slice(), folded.model.to_vec()), (net.as_bytes(), model.as_bytes().to_vec()));
    }
    all
}

#[test]
fn layers_are_not_folded_where_the_result_would_differ() {
    let abs = "layer { name: 'abs' type: 'AbsVal' bottom: 'conv' top: 'abs' }\nlayer { name: 'bn'";
    let later = "layer { name: 'other' type: 'AbsVal' bottom: 'data' top: 'conv/bn' }\nlayer { name: 'bn'";
    let twin =
        "layer { name: 'twin' type: 'Convolution' bottom: 'data' top: 'x' param { name: 'w' } }\nlayer { name: 'bn'";
    let shared = NET.replace("param { lr_mult: 1 }  #", "param { name: 'w' }  #").replace("layer { name: 'bn'", twin);
    let cases = [
        (left("layer { name: 'bn'", abs), 2, "read by `abs`, too"),
        (left("layer { name: 'bn'", later), 2, "another blob where `other` uses it"),
        (left_of(&shared, &parse(model())), 2, "shares its parameter `w` with `twin`"),
        (left("eps: 0.25", "eps: 0.25 use_global_stats: false"), 2, "use_global_stats"),
        (left("top: 'conv/bn' batch", "top: 'conv/bn' include { phase: TEST } batch"), 2, "no part in TRAIN"),
        (left("bias_term: true }\n}", "bias_term: true axis: 2 }\n}"), 1, "other axes"),
        (left("num_output: 2 ", "num_output: 2 axis: 2 "), 2, "another axis"),
        (left("num_output: 2 ", "num_output: 3 "), 2, "not what the net asks for"),
        (left("bias_term: false", "bias_term: true"), 2, "1 blobs for `conv`"),
        (left("type: 'Convolution'", "type: 'Python'"), 2, "comes from `conv` (Python)"),
        (left("bias_term: true }\n}", " }\n}"), 1, "2 blobs for it"),
    ];

    for (number, (left, count, reason)) in cases.iter().enumerate() {
        assert_eq!(left.len(), *count, "case {number}: {left:?}");
        assert!(left[0].1.contains(reason), "case {number}: {left:?}");
    }
}

#[test]
fn a_batch_norm_folds_even_if_its_scale_does_not() {
    let net = NET.replace("bias_term: true }\n}", "bias_term: true axis: 2 }\n}");
    let model = parse(model());
    let folded = fold(&document(&net), &model).unwrap();
    assert_eq!((folded.layers.len(), folded.left[0].name.to_string()), (1, "scale".into()));
    let new = parse(folded.model.to_vec());
    assert_eq!(values(&new, "conv", 1), [-1.0 / 1.5, 3.0]);
    assert!(String::from_utf8(folded.net).unwrap().contains("top: 'conv/bn'\n  param"));
}

#[test]
fn factors_that_are_not_finite_are_not_folded() {
    let model = |variance: f32| {
        let bn = layer("bn", "BatchNorm", &[blob(&[2], &[0.0; 2]), blob(&[2], &[1.0, variance]), blob(&[1], &[1.0])]);
        parse([layer("conv", "Convolution", &[blob(&[2, 2, 1, 1], &[1.0; 4])]), bn].concat())
    };

    for variance in [f32::NAN, -1.0, -0.25] {
        let left = left_of(NET, &model(variance));
        assert!(left.len() == 2 && left[0].1.contains("not finite"), "{left:?}");
    }
    let left = left_of(NET, &model(1.0));
    assert_eq!(left.len(), 1);
    assert!(left[0].1.contains("no blobs for `scale`"), "{left:?}");
}

#[test]
fn layers_of_one_name_in_two_phases_fold_together() {
    let bn = "layer { name: 'bn' type: 'BatchNorm' bottom: 'conv' top: 'conv/bn' batch_norm_param { eps: 0.25 } }\n";
    let one = |phase, global| {
        bn.replace("eps: 0.25", &format!("eps: 0.25 use_global_stats: {global}"))
            .replace("name: 'bn'", &format!("name: 'bn' include {{ phase: {phase} }}"))
    };
    let net = NET.replace(bn, &(one("TRAIN", false) + &one("TEST", true)));
    let folded = fold(&document(&net), &parse(model())).unwrap().net;
    assert_eq!(String::from_utf8(folded).unwrap(), FOLDED);
}

#[test]
fn nets_and_models_that_do_not_fit_are_refused() {
    let model = parse(model());
    let refused = |net: &str| fold(&document(net), &model).unwrap_err().to_string();
    assert!(refused("layer { name: 'x' type: 'ReLU' bottom: 'a' top: 'b' }").contains("a different net"));
    assert!(refused("net: 'train.prototxt'").contains("a solver's net is the file it names"));
    assert!(refused("").contains("empty"));
    assert!(refused("name: 'n'\nlayers { name: 'conv' type: CONVOLUTION }").contains("line 2: `layers`"));

    let both = format!("net_param {{ {NET} }} test_net_param {{ {NET} }}");
    assert!(refused(&both).contains("holds 2 nets"));
    let old = parse(crate::field(2, &[crate::field(4, b"conv"), crate::field(6, &blob(&[1], &[7.0]))].concat()));
    assert_eq!(fold(&document(NET), &old).unwrap_err(), Error::OldModel);
}
