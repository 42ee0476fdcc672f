//! The graph of layers and blobs.

use gfpq::prototxt::net::{Form, Net, Producer};

use crate::{fixture, parse};

fn only(text: &str) -> Net {
    let mut nets = Net::all(&parse(text)).unwrap();
    assert_eq!(nets.len(), 1);
    nets.remove(0)
}

#[test]
fn an_in_place_layer_makes_a_version() {
    let net = only(&fixture("residual.prototxt"));
    let number = |name: &str| net.layers.iter().position(|layer| layer.name == name).unwrap();
    let wiring = net.wiring();
    let source = |layer: &str, bottom: usize| {
        let sources = &wiring.wire(number(layer), bottom).sources;
        assert_eq!(sources.len(), 1, "{layer}");
        sources[0].producer
    };
    let top = |layer: &str| Producer::Top { layer: number(layer), top: 0 };
    assert_eq!(source("conv1", 0), Producer::Input(0));
    assert_eq!(source("relu1", 0), top("scale1"));
    assert_eq!(source("conv2", 0), top("relu1"));
    assert_eq!(source("sum", 0), top("relu1"));
    assert_eq!(source("sum", 1), top("conv2"));
    assert_eq!(wiring.readers(top("relu1")).len(), 2);
    assert!(wiring.readers(top("pool")).is_empty());
}

#[test]
fn each_phase_reads_its_own_version() {
    let net = only(
        "layer { name: 'd' type: 'Data' top: 'x' include { phase: TRAIN } }
         layer { name: 'd' type: 'Data' top: 'x' exclude { phase: TRAIN } }
         layer { name: 'drop' type: 'Dropout' bottom: 'x' top: 'x' include { phase: TRAIN } }
         layer { name: 'ip' type: 'InnerProduct' bottom: 'x' top: 'y' }",
    );
    let wiring = net.wiring();
    let wire = wiring.wire(3, 0);
    let made: Vec<_> =
        wire.sources.iter().map(|s| (s.producer.layer().unwrap(), net.states.describe(&s.states))).collect();
    assert_eq!(made, [(1, "TEST".to_owned()), (2, "TRAIN".to_owned())]);
    assert!(wire.missing.is_empty());
}

#[test]
fn stages_and_levels_are_told_apart() {
    let net = only(
        "layer { name: 'a' type: 'Data' top: 'x' include { stage: 'a' not_stage: 'b' } }
         layer { name: 'b' type: 'Data' top: 'x' include { min_level: 2 max_level: 3 stage: 'b' } }
         layer { name: 'ip' type: 'InnerProduct' bottom: 'x' top: 'y' include { stage: 'a' } include { stage: 'b' } }",
    );
    let wiring = net.wiring();
    let wire = wiring.wire(2, 0);
    assert_eq!(wire.sources.len(), 2);
    assert!(!wire.missing.is_empty());
    assert!(!wire.sources[0].states.meets(&wire.sources[1].states));
}

#[test]
fn a_hundred_stages_do_not_explode() {
    let layer = |i: usize| format!("layer {{ name: 'l{i}' type: 'Data' top: 'x{i}' include {{ stage: 's{i}' }} }}\n");
    let net = only(&(0..100).map(layer).collect::<String>());
    assert!(net.layers.iter().all(|layer| !layer.states.is_empty() && layer.states != net.states.all()));
}

#[test]
fn legacy_nets_are_read() {
    let net = only(&fixture("old.prototxt"));
    assert_eq!(net.form, Form::Legacy);
    let kinds: Vec<_> = net.layers.iter().map(|layer| layer.kind.to_string()).collect();
    assert_eq!(kinds, ["Data", "Convolution", "ReLU", "Pooling", "SoftmaxWithLoss"]);
    assert_eq!(net.layers[3].name, "pool1");
    let numbers = only("layers { type: 4 } layers { type: 17 } layers { type: 99 }");
    assert_eq!(
        numbers.layers.iter().map(|layer| layer.kind.to_string()).collect::<Vec<_>>(),
        ["Convolution", "Pooling", "99"]
    );
}

#[test]
fn a_solver_may_hold_nets() {
    let text = "base_lr: 0.1 net_param { layer { name: 'a' } } test_net_param { layer { name: 'b' } layer { } }";
    let nets = Net::all(&parse(text)).unwrap();
    assert_eq!(nets.iter().map(|net| net.layers.len()).collect::<Vec<_>>(), [1, 2]);
    assert!(Net::all(&parse("net: 'train_val.prototxt'")).unwrap().is_empty());
}

#[test]
fn shared_parameters_are_named() {
    let net =
        only("layer { name: 'a' param { name: 'w' } param { lr_mult: 1 } } layer { name: 'b' param { name: 'w' } }");
    assert_eq!(net.layers[0].params, ["w"]);
    assert_eq!(net.layers[0].params, net.layers[1].params);
}

#[test]
fn what_caffe_would_refuse_is_refused() {
    let refuse = |text: &str| {
        let shown = Net::all(&parse(text)).unwrap_err().to_string();
        shown.lines().next().unwrap().strip_prefix("net.prototxt:").unwrap().to_owned()
    };
    assert_eq!(refuse("layer {\n  bottom: data\n}"), "2:11: expected a string in quotes as the value of `bottom`");
    assert_eq!(refuse("layer { name: 5 }"), "1:15: expected a string in quotes as the value of `name`");
    assert_eq!(refuse("layer { type: CONVOLUTION }"), "1:15: expected a string in quotes as the value of `type`");
    assert_eq!(refuse("layer: [{}, 5]"), "1:13: expected a message, `{ … }` as the value of `layer`");
    assert!(Net::all(&parse("input: 5")).unwrap().is_empty());
}
