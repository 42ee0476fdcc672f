//! Quantised weights, and the ranges of data and weights.

use gfpq::caffemodel::{Error, parameters, quantise};
use gfpq::quant::{Bits, Mode, Param};

use crate::{blob, document, layer, parse, values};

const WEIGHTS: [f32; 4] = [0.37, -1.23, 1e-5, 0.0101];

const NET: &str = "\
layer { name: 'q' type: 'Quant' bottom: 'data' top: 'q' }
layer { name: 'conv' type: 'Convolution' bottom: 'q' top: 'conv' }
layer { name: 'deep_hp' type: 'DepthwiseConv' bottom: 'conv' top: 'deep' }
layer { name: 'own' type: 'InnerProduct' bottom: 'q' top: 'own' quant_param { quant_bits: 16 } }
layer { name: 'off' type: 'InnerProduct' bottom: 'own' top: 'off' quant_param { quant_en: 0 } }
layer { name: 'scale' type: 'Scale' bottom: 'off' top: 'scale' }
layer { name: 'custom' type: 'PReLU' bottom: 'scale' top: 'custom' quant_param { } }
";

const NAMES: [&str; 6] = ["conv", "deep_hp", "own", "off", "scale", "custom"];

fn model() -> Vec<u8> {
    let layers = NAMES.map(|name| layer(name, "", &[blob(&[2, 2], &WEIGHTS), blob(&[2], &[0.37, 0.41])]));
    [layers.concat(), layer("q", "Quant", &[blob(&[1, 2], &[8.0, -60.0])])].concat()
}

fn by_hand(bits: Bits) -> Vec<f32> {
    let mut weights = WEIGHTS;
    gfpq::quant::quantise(&mut weights, bits, Mode::Init, &mut Param::default());
    weights.to_vec()
}

#[test]
fn layers_and_widths_are_those_of_weight_quantizer() {
    let (eight, sixteen, float) = (by_hand(Bits::Eight), by_hand(Bits::Sixteen), WEIGHTS.to_vec());
    let both = |net: String, expected: [&Vec<f32>; 6]| {
        let model = parse(model());
        let quantised = quantise(&document(&net), &model, Bits::Eight).unwrap();
        let new = parse(quantised.model.to_vec());
        for (name, expected) in NAMES.iter().zip(expected) {
            assert_eq!(&values(&new, name, 0), expected, "{name} of {net}");
            assert_eq!(values(&new, name, 1), [0.37, 0.41]);
        }
        assert_eq!(values(&new, "q", 0), [8.0, -60.0]);
    };

    let whole = |options: &str| format!("weight_quant_param {{ {options} }}\n{NET}");
    let usual = [&eight, &sixteen, &sixteen, &float, &float, &eight];
    both(NET.to_owned(), usual);
    both(whole(""), usual);
    both(whole("quant_bits: 16"), [&sixteen, &sixteen, &sixteen, &float, &float, &sixteen]);
    both(whole("quant_en: false"), [&float; 6]);
}

#[test]
fn bit_widths_that_caffe_would_refuse_are_refused() {
    let model = parse(model());
    let bad = document(&NET.replace("quant_bits: 16", "quant_bits: 7"));
    let error = quantise(&bad, &model, Bits::Eight).unwrap_err().to_string();
    assert!(error.contains("line 4: quant_bits of its weights is 7"), "{error}");

    let twice = NET.to_owned() + "layer { name: 'conv' type: 'Convolution' quant_param { quant_bits: 16 } }";
    let error = quantise(&document(&twice), &model, Bits::Eight).unwrap_err();
    assert_eq!(error, Error::TwoWidths("conv".into()));
}

#[test]
fn unequally_quantised_sharing_and_missing_layers_give_warnings() {
    let net = NET.replace("name: 'conv'", "name: 'conv' param { name: 'w' }")
        + "layer { name: 'new' type: 'InnerProduct' bottom: 'q' top: 'x' }\n\
           layer { name: 'off2' type: 'Embed' bottom: 'q' top: 'y' param { name: 'w' } }";
    let model = parse(model());
    let warnings = quantise(&document(&net), &model, Bits::Eight).unwrap().warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].contains("no blobs for `new`") && warnings[1].contains("`conv` and `off2` share their weights `w`")
    );
}

#[test]
fn a_layer_that_is_not_folded_in_gives_a_warning() {
    let net = |own: &str| {
        document(&format!(
            "weight_quant_param {{ fold_batch_norm: 1 }}
            layer {{ name: 'conv' type: 'Convolution' bottom: 'data' top: 'c' {own}
              convolution_param {{ num_output: 2 bias_term: false }} }}
            layer {{ name: 'bn' type: 'BatchNorm' bottom: 'c' top: 'c' }}"
        ))
    };
    let with = |count: f32| {
        let statistics = [blob(&[2], &[0.0; 2]), blob(&[2], &[4.0, 9.0]), blob(&[1], &[count])];
        let conv = layer("conv", "Convolution", &[blob(&[2, 2], &WEIGHTS)]);
        parse([conv, layer("bn", "BatchNorm", &statistics)].concat())
    };
    for (own, count, folded, word) in [
        ("", 1.0, true, None),
        ("", 0.0, false, Some("not trained")),
        (
            "param { name: 'w' } } layer { name: 'other' type: 'Convolution' bottom: 'data' top: 'o' param { name: 'w' }",
            1.0,
            false,
            Some("`bn` is not folded in: "),
        ),
    ] {
        let model = with(count);
        let quantised = quantise(&net(own), &model, Bits::Eight).unwrap();
        assert_eq!(quantised.layers[0].is_folded, folded, "{own}");
        let told = quantised.warnings.iter().any(|warning| word.is_some_and(|word| warning.contains(word)));
        assert_eq!(told, word.is_some(), "{own}: {:?}", quantised.warnings);
    }
}

#[test]
fn doubles_are_quantised_as_the_floats_that_caffe_loads() {
    let wide: Vec<u8> = WEIGHTS.iter().flat_map(|&weight| f64::from(weight).to_le_bytes()).collect();
    let blob = [crate::field(8, &wide), crate::field(7, &crate::field(1, &[2, 2]))].concat();
    let model = parse(layer("conv", "Convolution", &[blob]));
    let net = document("layer { name: 'conv' type: 'Convolution' bottom: 'q' top: 'conv' }");
    let new = quantise(&net, &model, Bits::Eight).unwrap().model.to_vec();
    assert_eq!(new.len(), model.as_bytes().len());
    assert_eq!(values(&parse(new), "conv", 0), by_hand(Bits::Eight));
}

#[test]
fn parameters_are_the_ranges_of_data_and_weights() {
    let found = parameters(&document(NET), &parse(model()), Bits::Eight).unwrap();
    let data = &found.data[0];
    assert_eq!((data.quant.to_string(), data.blob.to_string()), ("q".into(), "data".into()));
    assert_eq!(data.feeds, ["conv", "own"]);

    let range = data.range.unwrap();
    assert_eq!((range.delta, range.largest()), (-60, (67f64 / 16.0).exp2()));

    let layers: Vec<_> = found.weights.iter().map(|w| (w.layer.to_string(), w.range.bits.number())).collect();
    assert_eq!(layers, [("conv".into(), 8), ("deep_hp".into(), 16), ("own".into(), 16), ("custom".into(), 8)]);
    // floor(16 log2(1.23)) is 4.
    assert_eq!((found.weights[0].range.delta, found.weights[0].statistics.abs_max), (4 - 127, 1.23));
    assert!(found.warnings.is_empty());

    let mut unseen = layer("q", "Quant", &[blob(&[1, 2], &[0.0, 0.0])]);
    for name in ["conv", "own"] {
        unseen.extend(layer(name, "", &[blob(&[1], &[1.0])]));
    }
    // Up to half of the layers with weights may be missing from the model.
    assert!(matches!(parameters(&document(NET), &parse(layer("conv", "", &[])), Bits::Eight), Err(Error::WrongNet(_))));
    let unseen = parse(unseen);
    let found = parameters(&document(NET), &unseen, Bits::Eight).unwrap();
    assert_eq!(found.data[0].range, None);
    assert!(found.warnings.iter().any(|warning| warning.contains("no range for `data` yet")));
}
