//! add_quant: where Quant layers go, what they are called, and the warnings.

use gfpq::prototxt::{EditError, Selection, Target, Weights, add_quant, check};
use gfpq::quant::Bits;

use crate::{added, fixture, parse, quantised, stripped, there_and_back};

fn names(text: &str, selection: &Selection) -> Vec<(String, u32)> {
    let quantised = quantised(text, selection);
    quantised.added.iter().map(|quant| (quant.name.to_string(), quant.bits.number())).collect()
}

fn lines_of<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.contains(word)).map(str::trim).collect()
}

#[test]
fn a_quant_layer_is_written_in_the_style_of_its_neighbour() {
    let text = there_and_back(
        "name: 'n'\ninput: 'data'\n\n# first\nlayer {\n    name: 'c'\n    type: 'Convolution'\n    bottom: 'data'\n    top: 'c'\n}\n",
    );
    let expected = "name: 'n'\ninput: 'data'\n\nlayer {\n    name: 'data_quant'\n    type: 'Quant'\n    bottom: 'data'\n    \
        top: 'data_quant'\n    param { lr_mult: 0 decay_mult: 0 }\n    quant_param { quant_bits: 8 quant_en: 1 }\n}\n\n\
        # first\nlayer {\n    name: 'c'\n    type: 'Convolution'\n    bottom: 'data_quant'\n    top: 'c'\n}\n";
    assert_eq!(text, expected);
}

#[test]
fn stripping_undoes_adding_on_every_fixture() {
    for name in ["odd.prototxt", "train_val.prototxt", "residual.prototxt"] {
        let text = fixture(name);
        let with = there_and_back(&text);
        assert_ne!(with, text);
        assert_eq!(with.contains("\r\n"), text.contains("\r\n"));
        assert_eq!(with.replace("\r\n", "").contains('\r'), text.replace("\r\n", "").contains('\r'));
        let weights = add_quant(&parse(&text), &Selection::new(Bits::Sixteen), Weights::Quantised).unwrap();
        let weights = String::from_utf8(weights.text).unwrap();
        assert_eq!(lines_of(&weights, "weight_quant_param").len(), 1);
        assert_eq!(stripped(&weights), text, "{weights}");
        let folded = add_quant(&parse(&weights), &Selection::default(), Weights::Folded).unwrap();
        assert!(folded.text == weights.as_bytes() && folded.warnings[0].contains("without fold_batch_norm"));
        let folded = add_quant(&parse(&text), &Selection::default(), Weights::Folded).unwrap();
        let folded = String::from_utf8(folded.text).unwrap();
        assert_eq!(lines_of(&folded, "fold_batch_norm: 1").len(), 1, "{folded}");
        assert_eq!(stripped(&folded), text);
    }
}

#[test]
fn one_quant_for_both_phases_and_one_for_each_width() {
    let selection = Selection::default();
    let expected = [("data_quant", 8), ("conv1_quant16", 16), ("conv1_quant", 8), ("sum_quant", 8), ("side_quant", 8)];
    assert_eq!(names(&fixture("train_val.prototxt"), &selection), expected.map(|(name, bits)| (name.to_owned(), bits)));
    let sixteen = names(&fixture("train_val.prototxt"), &Selection::new(Bits::Sixteen));
    assert!(sixteen.iter().all(|(name, bits)| name.ends_with("_quant") && *bits == 16));
    assert_eq!(sixteen.len(), 4);
}

#[test]
fn a_quant_layer_takes_part_where_its_readers_do() {
    let data = "input: 'x'\n";
    let conv =
        |rules: &str, n: u32| format!("layer {{ name: 'c{n}' type: 'Convolution' bottom: 'x' top: 'c{n}' {rules} }}\n");
    let cases = [
        (vec![""], vec![]),
        (vec!["include { phase: TRAIN }"], vec!["include { phase: TRAIN }"]),
        (vec!["include { phase: TRAIN }", "include { phase: TEST }"], vec![]),
        (vec!["include { phase: TRAIN }", ""], vec![]),
        (vec!["exclude { phase: TRAIN }", "exclude { phase: TRAIN }"], vec!["exclude { phase: TRAIN }"]),
        (vec!["exclude { phase: TRAIN }", "include { phase: TEST }"], vec!["exclude { phase: TRAIN }"]),
        (
            vec!["include { stage: 'a' }", "include { stage: 'b' min_level: 2 }"],
            vec!["include { stage: 'a' }", "include { min_level: 2 stage: 'b' }"],
        ),
    ];
    for (rules, expected) in cases {
        let text = rules.iter().enumerate().map(|(n, rule)| conv(rule, n as u32));
        let text: String = std::iter::once(data.to_owned()).chain(text).collect();
        let with = there_and_back(&text);
        let quants = lines_of(&with, "type: 'Quant'");
        assert_eq!(quants.len(), 1, "{rules:?}: {with}");
        let rules_of =
            |line: &str| line.split("top: 'x_quant' ").nth(1).unwrap().split("param").next().unwrap().trim().to_owned();
        assert_eq!(rules_of(quants[0]), expected.join(" "), "{rules:?}");
    }
}

#[test]
fn quant_layers_in_different_phases_share_a_name() {
    // The data layer of the second phase stands behind the reader in the first phase, so one Quant layer cannot stand in
    // front of both readers and behind both data layers.
    let text = "layer { name: 'a' type: 'Data' top: 'x' include { phase: TRAIN } }
        layer { name: 'ca' type: 'Convolution' bottom: 'x' top: 'y' include { phase: TRAIN } }
        layer { name: 'b' type: 'Data' top: 'x' include { phase: TEST } }
        layer { name: 'cb' type: 'Convolution' bottom: 'x' top: 'y' include { phase: TEST } }
        layer { name: 'ip' type: 'InnerProduct' bottom: 'y' top: 'z' }\n";
    there_and_back(text);
    let names = names(text, &Selection::default());
    assert_eq!(names.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["x_quant", "x_quant", "y_quant"]);
}

#[test]
fn train_and_test_files_get_the_same_names() {
    let body = "layer { name: 'c' type: 'Convolution' bottom: 'data' top: 'c' }
        layer { name: 'drop' type: 'Dropout' bottom: 'c' top: 'c' include { phase: TRAIN } }
        layer { name: 'p_hp' type: 'Pooling' bottom: 'c' top: 'p' }\n";
    let train =
        format!("layer {{ name: 'd' type: 'Data' top: 'data' top: 'label' include {{ phase: TRAIN }} }}\n{body}");
    let test = format!(
        "name: 'deploy'\ninput: 'data'\n{}",
        body.replace("layer { name: 'drop' type: 'Dropout' bottom: 'c' top: 'c' include { phase: TRAIN } }", "")
    );
    assert_eq!(names(&train, &Selection::default()), names(&test, &Selection::default()));
}

#[test]
fn names_do_not_depend_on_branches_that_only_training_has() {
    let net = |aux: &str| {
        format!(
            "input: 'data' layer {{ name: 'c' type: 'Convolution' bottom: 'data' top: 'c' }}
            {aux} layer {{ name: 'relu' type: 'ReLU' bottom: 'c' top: 'c' }}
            layer {{ name: 'd' type: 'Convolution' bottom: 'c' top: 'd' }}\n"
        )
    };
    let deploy = names(&net(""), &Selection::default());
    for rule in ["include { phase: TRAIN }", "exclude { phase: TEST }", ""] {
        let aux = format!("layer {{ name: 'aux' type: 'Pooling' bottom: 'c' top: 'aux' {rule} }}");
        there_and_back(&net(&aux));
        let train = names(&net(&aux), &Selection::default());
        assert!(deploy.iter().all(|name| train.contains(name)), "{rule}: {deploy:?}, {train:?}");
        let quant_of_d = there_and_back(&net(&aux)).split("'d' type").nth(1).unwrap().contains("'c_quant'");
        assert!(quant_of_d, "{rule}");
    }
}

#[test]
fn names_in_use_are_not_given_again() {
    let text = "input: 'x' layer { name: 'x_quant' type: 'ReLU' bottom: 'x' top: 'x_quant_2' }
        layer { name: 'c' type: 'Convolution' bottom: 'x' top: 'c' }\n";
    there_and_back(text);
    assert_eq!(names(text, &Selection::default()), [("x_quant_3".to_owned(), 8)]);
}

#[test]
fn each_version_of_a_blob_gets_its_own_quant_layer() {
    let text = "input: 'x'
        layer { name: 'a' type: 'Convolution' bottom: 'x' top: 'a' }
        layer { name: 'relu' type: 'ReLU' bottom: 'x' top: 'x' }
        layer { name: 'b' type: 'Convolution' bottom: 'x' top: 'b' }
        layer { name: 'c' type: 'Convolution' bottom: 'x' top: 'c' }\n";
    there_and_back(text);
    assert_eq!(names(text, &Selection::default()).len(), 2);
}

#[test]
fn a_layer_in_place_gets_its_quant_in_place() {
    let with = there_and_back("input: 'x'\nlayer { name: 'dw' type: 'DepthwiseConv' bottom: 'x' top: 'x' }\n");
    assert_eq!(
        lines_of(&with, "Quant"),
        ["layer { name: 'x_quant' type: 'Quant' bottom: 'x' top: 'x' \
        param { lr_mult: 0 decay_mult: 0 } quant_param { quant_bits: 8 quant_en: 1 } }"]
    );
}

#[test]
fn layers_that_are_not_selected_keep_the_float_blob() {
    let with = there_and_back(
        "input: 'x' input: 'l'
        layer { name: 'c' type: 'Convolution' bottom: 'x' top: 'c' }
        layer { name: 'cat' type: 'Concat' bottom: 'x' bottom: 'c' top: 'cat' }
        layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'cat' bottom: 'l' }\n",
    );
    assert!(with.contains("type: 'Concat' bottom: 'x' bottom: 'c'"));
    assert_eq!(with.matches("_quant'").count(), 3);
}

#[test]
fn only_selected_layers_are_quantised() {
    let text = "input: 'x'
        layer { name: 'stem/a' type: 'Convolution' bottom: 'x' top: 'a' }
        layer { name: 'stem/b' type: 'Convolution' bottom: 'a' top: 'b' }
        layer { name: 'head' type: 'Interp' bottom: 'b' top: 'c' }\n";
    let selection = |f: fn(Selection) -> Selection| names(text, &f(Selection::default()));
    assert_eq!(selection(|s| s.without(&["stem*".into()]).unwrap()), []);
    assert_eq!(selection(|s| s.without(&["*/a".into()]).unwrap()), [("a_quant".to_owned(), 8)]);
    let expected = [("x_quant", 8), ("a_quant16", 16)].map(|(name, bits)| (name.to_owned(), bits));
    assert_eq!(selection(|s| s.with_sixteen(&["*/b".into()]).unwrap()), expected);
    assert_eq!(selection(|s| s.with_types(&[" Interp ".into()]).unwrap()).len(), 3);
    assert!(Selection::default().without(&["a[".into()]).is_err());
    let idle = Selection::default().without(&["nobody".into()]).unwrap();
    assert_eq!(quantised(text, &idle).warnings, ["no layer's name matches `nobody`"]);
}

#[test]
fn an_existing_quant_layer_is_shared() {
    let text = "input: 'x'\nlayer { name: 'a' type: 'Convolution' bottom: 'x' top: 'a' }
        layer { name: 'b' type: 'Convolution' bottom: 'x' top: 'b' }\n";
    let some = quantised(text, &Selection::default().without(&["b".into()]).unwrap());
    let all = added(std::str::from_utf8(&some.text).unwrap());
    assert_eq!(all, added(text));
    assert_eq!(stripped(&all), text);
}

#[test]
fn an_existing_quant_layer_of_another_width_stays_with_a_warning() {
    let text = added("input: 'x'\nlayer { name: 'a' type: 'Convolution' bottom: 'x' top: 'a' }\n");
    let again = quantised(&text, &Selection::new(Bits::Sixteen));
    assert_eq!(again.text, text.as_bytes());
    assert!(again.warnings[0].contains("quantised in 8"), "{:?}", again.warnings);
}

#[test]
fn layers_in_lists_and_solvers_are_found() {
    let text = there_and_back(
        "net_param {\n  input: 'x'\n  layer: [\n    { name: 'a' type: 'Pooling' bottom: 'x' top: 'a' },\n    \
         { name: 'b' type: 'Pooling' bottom: 'a' top: 'b' }\n  ]\n}\nbase_lr: 1\n",
    );
    assert_eq!(lines_of(&text, "type: 'Quant'").len(), 2);
    assert!(text.contains("\n    { name: 'x_quant'"));
}

#[test]
fn a_blob_that_nothing_makes_gets_a_warning() {
    let quantised = quantised("layer { name: 'a' type: 'Pooling' bottom: 'x' top: 'a' }", &Selection::default());
    assert_eq!(quantised.added.len(), 1);
    assert!(quantised.warnings[0].contains("nothing makes"), "{:?}", quantised.warnings);
}

#[test]
fn legacy_nets_are_refused_if_they_need_a_quant_layer() {
    let error = add_quant(&parse(fixture("old.prototxt")), &Selection::default(), Weights::Quantised).unwrap_err();
    assert_eq!(error, EditError::OldLayers { line: 8 });
    assert!(error.to_string().contains("upgrade_net_proto_text"));
    let idle = "layers { name: 'r' type: RELU bottom: 'x' top: 'x' }";
    assert_eq!(quantised(idle, &Selection::default()).text, idle.as_bytes());
}

#[test]
fn a_solver_is_unchanged_and_an_empty_file_is_refused() {
    let solver = "net: \"train_val.prototxt\"\nbase_lr: 0.01 # as before\n";
    assert_eq!(there_and_back(solver), solver);
    for empty in ["", " \n\t", "# only a comment", "\u{feff}"] {
        assert_eq!(add_quant(&parse(empty), &Selection::default(), Weights::AsTheyAre).unwrap_err(), EditError::Empty);
    }
}

#[test]
fn weights_have_the_width_of_their_layers_data() {
    let text = "layer { name: 'a' type: 'Convolution' bottom: 'x' top: 'a' convolution_param { } }\n\
        layer { name: 'b' type: 'InnerProduct' bottom: 'a' top: 'b' }\n\
        layer {\n  name: 'c_hp'\n  type: 'InnerProduct'\n  # its product\n  top: 'c'\n}\n\
        layer { name: 'd' type: 'Pooling' top: 'd' }\n\
        layer { name: 'e' type: 'InnerProduct' quant_param { quant_bits: 8 } top: 'e' }\n";
    let own = |width, exclude: &str, sixteen: &str| {
        let [exclude, sixteen] = [exclude, sixteen].map(|glob| vec![glob.to_owned()]);
        let selection = Selection::new(width).without(&exclude).unwrap().with_sixteen(&sixteen).unwrap();
        let result = add_quant(&parse(text), &selection, Weights::Quantised).unwrap();
        let again = add_quant(&parse(&result.text), &selection, Weights::Quantised).unwrap();
        assert_eq!((again.text, again.own_weights), (result.text.clone(), 0));
        let with = String::from_utf8(result.text).unwrap();
        let without = text.replace("quant_param { quant_bits: 8 } ", "");
        assert_eq!(stripped(&with), without);
        (with, result.own_weights)
    };
    let (with, count) = own(Bits::Eight, "b", "*");
    assert_eq!(count, 2);
    assert!(with.contains("quant_param { quant_bits: 16 } convolution_param { }"), "{with}");
    assert!(with.contains("name: 'b' type: 'InnerProduct' bottom: 'a' quant_param { quant_en: 0 } top: 'b'"), "{with}");
    let (with, count) = own(Bits::Sixteen, "c_hp", "none");
    assert_eq!(count, 1);
    assert!(with.contains("\n  quant_param { quant_en: 0 }\n  # its product\n  top: 'c'\n"), "{with}");
}

#[test]
fn a_weight_quant_param_that_differs_gets_a_warning() {
    let warnings = |field: &str, selection: &Selection, weights| {
        let text = format!("{field} input: 'x' layer {{ name: 'm' type: 'MyConv' bottom: 'x' top: 'm' }}");
        add_quant(&parse(&text), selection, weights).unwrap().warnings.join("; ")
    };
    let plain = Selection::default();
    let off = "weight_quant_param { quant_en: 0 }";
    assert!(
        warnings(off, &plain, Weights::Quantised)
            .contains("line 1: the weight_quant_param there is left as it is, with quant_en: 0")
    );
    assert_eq!(warnings(off, &plain, Weights::AsTheyAre), "");
    let eight = "weight_quant_param { }";
    assert!(warnings(eight, &Selection::new(Bits::Sixteen), Weights::Quantised).contains("of 8 bit"));
    assert_eq!(warnings(eight, &plain, Weights::Quantised), "");
    let more = Selection::default().with_types(&["MyConv".to_owned()]).unwrap();
    assert!(warnings("", &more, Weights::Quantised).contains("MyConv layers' weights"));
    assert_eq!(warnings("", &more, Weights::AsTheyAre), "");
}

#[test]
fn a_bottom_fed_in_one_phase_only_gets_a_warning() {
    let text = "input: 'x' layer { name: 'q' type: 'Quant' bottom: 'x' top: 'x' include { phase: TRAIN } }
        layer { name: 'c' type: 'Convolution' bottom: 'x' top: 'c' }";
    let result = quantised(text, &Selection::default());
    assert_eq!((result.fed_before, result.added.len(), result.text.as_slice()), (0, 0, text.as_bytes()));
    assert!(result.warnings[0].contains("layer `c` reads `x` as floats in TEST"), "{:?}", result.warnings);
    // Without a data layer in TEST there is nothing to warn of.
    let text = text.replace("input: 'x'", "layer { type: 'Data' top: 'x' include { phase: TRAIN } }");
    let result = quantised(&text, &Selection::default());
    assert_eq!((result.fed_before, result.warnings), (1, vec![]));
}

#[test]
fn an_existing_quant_layer_moves_in_front_of_an_earlier_reader() {
    let layer = |name: &str, kind: &str, bottom: &str| {
        format!("# {name}\nlayer {{\n  name: '{name}'\n  type: '{kind}'\n  bottom: '{bottom}'\n  top: '{name}'\n}}\n\n")
    };
    let inline = |name: &str, bottom: &str| format!("layer {{ name: '{name}' type: 'Pooling' bottom: '{bottom}' }} ");
    let texts = [
        ["input: 'x'\n\n".into(), layer("a", "Convolution", "x"), layer("r", "ReLU", "x"), layer("b", "Pooling", "x")]
            .concat(),
        ["input: 'x' ".into(), inline("a", "x"), inline("b", "x"), inline("c", "b")].concat(),
        "input: 'x' layer: [ { name: 'a' type: 'Pooling' bottom: 'x' }, { name: 'b' type: 'Pooling' bottom: 'x' } ]"
            .into(),
    ];
    for text in texts {
        let some = quantised(&text, &Selection::default().without(&["a".into()]).unwrap());
        let all = quantised(std::str::from_utf8(&some.text).unwrap(), &Selection::default());
        assert_eq!(String::from_utf8(all.text).unwrap(), there_and_back(&text));
        assert_eq!((all.moved, all.added.len(), all.warnings), (1, 0, vec![]));
    }
}

#[test]
fn an_existing_quant_layer_that_cannot_be_shared_gets_a_warning() {
    let conv = "layer { name: 'c' type: 'Convolution' bottom: 'x' top: 'c' }";
    let quant = |rest: &str| format!("layer {{ name: 'q' type: 'Quant' bottom: 'x' top: 'q' {rest} }}");
    let reader = "layer { name: 'd' type: 'Pooling' bottom: 'q' top: 'd' include { phase: TRAIN } }";
    let train = quant("include { phase: TRAIN }");
    for text in [format!("input: 'x' {train} {conv} {reader}"), format!("input: 'x' {conv} {train} {reader}")] {
        let result = quantised(&text, &Selection::default());
        assert_eq!((result.moved, result.added.len()), (0, 1), "{text}");
        assert!(result.warnings[0].contains("`q` cannot stand before it"), "{:?}", result.warnings);
    }
    // A layer in front of the Quant layer that reads a blob of its top's name reads another version.
    let text = format!("input: 'x' {conv} layer {{ type: 'Eltwise' bottom: 'q' }} {} {reader}", quant(""));
    assert_eq!(quantised(&text, &Selection::default()).moved, 0);
    let other_version = format!("input: 'x' {conv} layer {{ type: 'ReLU' bottom: 'x' top: 'x' }} {}", quant(""));
    let result = quantised(&other_version, &Selection::default());
    assert_eq!((result.moved, result.warnings), (0, vec![]));
}

#[test]
fn a_switched_off_quant_layer_is_not_shared() {
    let quant = "layer { name: 'q' type: 'Quant' bottom: 'x' top: 'q' quant_param { quant_en: 0 } }";
    let text = format!(
        "input: 'x' {quant} layer {{ name: 'c' type: 'Pooling' bottom: 'q' top: 'c' }}
        layer {{ name: 'd' type: 'Pooling' bottom: 'x' top: 'd' }}"
    );
    let result = quantised(&text, &Selection::default());
    assert_eq!((result.added.len(), result.fed_before), (1, 1));
    assert_eq!(result.warnings, ["Quant layer `q` is switched off by quant_en: what is read from there stays float"]);
    // Users switch off an added Quant layer to compare with the float net; it stays as it is.
    let off = added(&fixture("train_val.prototxt")).replace("quant_en: 1", "quant_en: 0");
    assert_eq!(added(&off), off);
}

#[test]
fn the_quant_param_of_a_layer_decides_for_its_data_too() {
    let text = "input: 'x' layer { name: 'c' type: 'Convolution' quant_param { quant_bits: 16 } bottom: 'x' top: 'c' }
        layer { name: 'd' type: 'Convolution' bottom: 'x' top: 'd' }";
    let expected = [("x_quant16", 16), ("x_quant", 8)].map(|(name, bits)| (name.to_owned(), bits));
    assert_eq!(names(text, &Selection::default()), expected);
    let with = add_quant(&parse(text), &Selection::default(), Weights::Quantised).unwrap();
    assert_eq!(with.warnings, [""; 0]);
    let report = check(&parse(with.text), &Selection::default(), Target::Train).unwrap();
    assert_eq!(report.findings, []);
}

#[test]
fn layers_whose_weights_stay_float_get_a_warning() {
    let text = "input: 'x' layer { name: 'c' type: 'Convolution' bottom: 'x' top: 'c' }";
    let some = Selection::default().without(&["c".into()]).unwrap();
    let first = add_quant(&parse(text), &some, Weights::Quantised).unwrap();
    assert_eq!((first.own_weights, first.warnings), (1, vec![]));
    let second = add_quant(&parse(&first.text), &Selection::default(), Weights::Quantised).unwrap();
    assert_eq!(second.warnings, ["layer `c`: its own quant_param keeps its weights float"]);
    assert_eq!(quantised(std::str::from_utf8(&first.text).unwrap(), &Selection::default()).warnings, [""; 0]);
}

#[test]
fn invalid_types_are_refused_and_unused_types_get_a_warning() {
    let with = |kind: &str| Selection::default().with_types(&[kind.to_owned()]);
    assert!(with("").is_err() && with(" ").is_err() && with("Quant ").is_err());
    let text = "input: 'x' layer { name: 'c' type: 'Interp' bottom: 'x' top: 'c' }";
    assert_eq!(quantised(text, &with("interp").unwrap()).warnings, ["no layer is of type `interp`"]);
}
