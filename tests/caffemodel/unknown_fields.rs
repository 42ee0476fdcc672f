//! Models of any origin are read, and what an edit does not touch keeps its bytes.

use gfpq::caffemodel::{Error, Model, ModelEdits, Values};

use crate::{blob, field, floats, layer, parse, values, varint};

/// A model with unknown fields of all wire types, on every level, before and after the known ones.
fn strange() -> Vec<u8> {
    let unknown = [
        field(5000, b"fork"),
        [varint(5001 << 3), varint(u64::MAX)].concat(),
        [varint(5002 << 3 | 5), vec![1, 2, 3, 4]].concat(),
        [varint(5003 << 3 | 1), vec![1, 2, 3, 4, 5, 6, 7, 8]].concat(),
        [varint(5004 << 3 | 3), varint(1 << 3), varint(7), varint(5004 << 3 | 4)].concat(),
    ]
    .concat();
    let blob = [unknown.clone(), blob(&[2, 3], &[1.0, -2.0, 3.0, -4.0, 5.0, -6.0]), unknown.clone()].concat();
    let inner = [
        field(2, b"Convolution"),
        unknown.clone(),
        field(7, &blob),
        field(1, b"conv"),
        field(7, &crate::blob(&[2], &[0.5, 0.25])),
        unknown.clone(),
    ];
    [
        unknown.clone(),
        field(1, b"net"),
        field(100, &inner.concat()),
        unknown.clone(),
        layer("relu", "ReLU", &[]),
        unknown,
    ]
    .concat()
}

#[test]
fn without_edits_every_byte_is_kept() {
    let bytes = strange();
    let model = parse(bytes.clone());
    assert_eq!((model.name().to_string(), model.layers().len()), ("net".to_owned(), 2));
    assert_eq!(ModelEdits::new(&model).to_vec(), bytes);
}

#[test]
fn replacing_a_blob_keeps_the_rest() {
    let bytes = strange();
    let model = parse(bytes.clone());
    let mut edits = ModelEdits::new(&model);
    let new = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0];
    edits.replace(0, 0, Values::F32(new.to_vec()));
    let changed = edits.to_vec();

    // The values have moved to the end of their blob; everything else keeps its order.
    assert_eq!(changed.len(), bytes.len());
    let again = parse(changed.clone());
    assert_eq!(values(&again, "conv", 0), new);
    assert_eq!(values(&again, "conv", 1), [0.5, 0.25]);
    let count = |bytes: &[u8]| bytes.windows(4).filter(|window| *window == b"fork").count();
    assert_eq!((count(&bytes), count(&changed)), (7, 7));

    let mut back = ModelEdits::new(&again);
    back.replace(0, 0, model.values(0, 0).unwrap());
    back.remove(1);
    let model = parse(back.to_vec());
    assert_eq!((model.layers().len(), values(&model, "conv", 0)[5]), (1, -6.0));
}

#[test]
fn every_encoding_of_values_is_read() {
    let numbers = [1.5f32, -2.25, 0.0, 3e-40];
    let doubles: Vec<u8> = numbers.iter().flat_map(|&number| f64::from(number).to_le_bytes()).collect();
    let shape = field(7, &[varint(1 << 3), varint(4)].concat());
    let single: Vec<u8> =
        numbers.iter().flat_map(|number| [vec![5 << 3 | 5], number.to_le_bytes().to_vec()].concat()).collect();
    let single_doubles: Vec<u8> =
        numbers.iter().flat_map(|&n| [vec![8 << 3 | 1], f64::from(n).to_le_bytes().to_vec()].concat()).collect();
    let legacy = [vec![1 << 3, 1, 2 << 3, 1, 3 << 3, 1, 4 << 3, 4], field(5, &floats(&numbers))].concat();
    let halves = [field(5, &floats(&numbers[..2])), shape.clone(), field(5, &floats(&numbers[2..]))].concat();
    let both = [field(8, &doubles), field(5, &floats(&[9.0; 4])), shape.clone()].concat();

    let cases = [
        [single, shape.clone()].concat(),
        [shape.clone(), single_doubles].concat(),
        [field(8, &doubles), shape].concat(),
        legacy,
        halves,
        both,
    ];
    for (number, blob) in cases.into_iter().enumerate() {
        let model = parse(layer("ip", "InnerProduct", &[blob]));
        assert_eq!(values(&model, "ip", 0), numbers, "case {number}");
        let shape: &[usize] = if number == 3 { &[1, 1, 1, 4] } else { &[4] };
        assert_eq!(model.layers()[0].blobs[0].shape(), shape);
    }
}

#[test]
fn a_blob_without_its_values_is_named_in_the_error_and_kept_in_the_file() {
    let half_floats = [field(7, &field(1, &varint(3))), field(12, &[1, 2, 3, 4, 5, 6])].concat();
    let bytes = layer("conv", "Convolution", &[half_floats]);
    let model = parse(bytes.clone());
    let error = model.values(0, 0).unwrap_err().to_string();
    assert!(error.contains("blob 0 of layer `conv`") && error.contains("[3]") && error.contains("holds 0"), "{error}");
    assert_eq!(ModelEdits::new(&model).to_vec(), bytes);
}

#[test]
fn v1_and_v0_models_are_read() {
    let v1 = field(2, &[field(4, b"conv1"), vec![5 << 3, 4], field(6, &blob(&[1], &[7.0]))].concat());
    let v0_inner = [field(1, b"fc8"), field(2, b"innerproduct"), field(50, &blob(&[1], &[8.0]))].concat();
    let v0 = field(2, &field(1, &v0_inner));
    let model = parse([field(1, b"old"), v1, v0].concat());
    let layers: Vec<_> = model.layers().iter().map(|l| (l.name.to_string(), l.kind.to_string())).collect();
    assert_eq!(layers, [("conv1".into(), "Convolution".into()), ("fc8".into(), "innerproduct".into())]);
    assert!(model.is_old());
    assert_eq!((values(&model, "conv1", 0), values(&model, "fc8", 0)), (vec![7.0], vec![8.0]));
}

#[test]
fn other_file_formats_are_refused() {
    let whole = strange();
    let reason = |bytes: &[u8]| match Model::parse(bytes.to_vec()) {
        Err(Error::NotAModel(what)) => what,
        other => panic!("{other:?}"),
    };
    assert!(reason(b"").contains("empty"));
    assert!(reason(b"name: \"n\"\nlayer { name: \"a\" }\n").contains("prototxt"));
    assert!(reason(b"\x89HDF\r\n\x1a\n\0\0").contains("HDF5"));
    assert!(reason(b"\x7fELF\x02\x01\x01\x00").contains("first bytes"));
    assert!(reason(b"\x08\x03\x12\x10snap.caffemodel\x00").contains("first bytes"), "a .solverstate file");
    assert!(reason(&field(1, b"\x01name")).contains("no layers"));
    assert!(reason(&whole[..whole.len() - 1]).contains("cut off"));
}

#[test]
fn cut_off_and_damaged_models_are_refused_or_kept_as_they_are() {
    let whole = strange();
    for length in 0..whole.len() {
        if let Ok(model) = Model::parse(whole[..length].to_vec()) {
            // Cut off between two fields.
            assert_eq!(ModelEdits::new(&model).to_vec(), whole[..length]);
        }
    }

    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            if let Ok(model) = Model::parse(damaged.clone()) {
                assert_eq!(ModelEdits::new(&model).to_vec(), damaged);
                for (number, layer) in model.layers().iter().enumerate() {
                    (0..layer.blobs.len()).for_each(|blob| drop(model.values(number, blob)));
                }
            }
        }
    }
}
