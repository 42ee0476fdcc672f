"""Nets with Quant layers in a patched Caffe: each of a tree's nets loads with them and, switched off, computes the same.

For every prototxt of a Caffe tree, or of a folder, that is a net of this Caffe's layers whose data can be replaced: data
layers become DummyData, the net is built as it is and with `gfpq prototxt add-quant --weights`, both get the same weights
and data, and with quant_en: 0 every blob must be the same, bit for bit, and the gradients; with quant_en: 1 the net must
run. A net with a loss runs in TRAIN, and any net in TEST.
Usage: PYTHONPATH=CAFFE/python scripts/checks/prototxt_caffe.py --gfpq GFPQ TREE...
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("GLOG_minloglevel", "3")

import numpy as np  # noqa: E402
from google.protobuf import text_format  # noqa: E402

import caffe  # noqa: E402
from caffe.proto import caffe_pb2  # noqa: E402
from prototxt_trees import active, caffe_takes  # noqa: E402

DATA_TYPES = {"Data", "ImageData", "HDF5Data", "MemoryData", "WindowData"}
# What an example's images are, where no crop_size says so: channels, height, width.
IMAGES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32), "siamese": (2, 28, 28), "hdf5_classification": (4, 1, 1)}
BATCH = 2
# What can be built here: not the Python layers that a net names.
KNOWN = set(caffe.layer_type_list()) - {"Python"}


def image_shape(path, layer):
    crop = layer.transform_param.crop_size or layer.window_data_param.crop_size
    if crop:
        return (3, crop, crop)
    return next((shape for folder, shape in IMAGES.items() if folder in path.parts), None)


def without_data(path, net):
    """Replaces data layers and shrinks batches; None where a data layer's shape is not known."""
    for layer in net.layer:
        if layer.type == "Input":
            for shape in layer.input_param.shape:
                shape.dim[0] = min(shape.dim[0], BATCH)
        if layer.type not in DATA_TYPES:
            continue
        shape = image_shape(path, layer)
        if shape is None:
            return None
        dummy = caffe_pb2.LayerParameter(name=layer.name, type="DummyData", top=layer.top, include=layer.include)
        for index, _ in enumerate(layer.top):
            dummy.dummy_data_param.shape.add().dim.extend((BATCH, *shape) if index == 0 else (BATCH,))
            filler = dummy.dummy_data_param.data_filler.add(type="constant", value=0)
            if index == 0:
                filler.type, filler.std = "gaussian", 50
        layer.CopyFrom(dummy)
    return net


def phases_of(net):
    """The phases that the net runs in: a net with a loss is one that trains; one may lack the data of a phase."""
    trains = any("Loss" in layer.type for layer in net.layer)
    for phase in [caffe.TRAIN, caffe.TEST] if trains else [caffe.TEST]:
        state = (phase, 0, ())
        if any(active(layer, state) for layer in net.layer) and caffe_takes(net, state):
            yield phase


def run(file, phase, weights):
    caffe.set_random_seed(1)
    net = caffe.Net(str(file), phase)
    if weights:
        net.copy_from(str(weights))
    rng = np.random.default_rng(0)
    for name in net.inputs:
        net.blobs[name].data[...] = 50 * rng.standard_normal(net.blobs[name].shape)
    caffe.set_random_seed(2)
    net.forward()
    if phase == caffe.TRAIN:
        net.backward()
    return net


def same(plain, quant):
    """What differs, if anything. Data bit for bit; gradients that meet at a blob may be summed in another order."""
    for name, blob in plain.blobs.items():
        if name in quant.blobs and not np.array_equal(blob.data, quant.blobs[name].data, equal_nan=True):
            return f"blob {name} differs"
        if name not in quant.blobs and "_split_" not in name:
            return f"blob {name} is gone"
    for name, blobs in plain.params.items():
        for a, b in zip(blobs, quant.params[name]):
            scale = np.abs(a.diff).max(initial=0)
            if not np.allclose(a.diff, b.diff, rtol=0, atol=1e-5 * scale, equal_nan=True):
                return f"gradient of {name} differs"
    return None


def judge(folder, gfpq, net, phase):
    plain, quant, off = (folder / name for name in ("plain.prototxt", "quant.prototxt", "off.prototxt"))
    net.force_backward = False
    plain.write_text(text_format.MessageToString(net))
    subprocess.run([gfpq, "prototxt", "add-quant", plain, "--weights", "-o", quant], check=True, capture_output=True)
    text = quant.read_text()
    off.write_text(text.replace("quant_en: 1", "quant_en: 0"))
    net_plain = run(plain, phase, None)
    net_plain.save(str(folder / "weights.caffemodel"))
    difference = same(run(plain, phase, folder / "weights.caffemodel"), run(off, phase, folder / "weights.caffemodel"))
    if difference is None:
        run(quant, phase, folder / "weights.caffemodel")
    return difference, text.count('"Quant"')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("trees", metavar="TREE", nargs="+", type=pathlib.Path)
    parser.add_argument("--gfpq", required=True)
    arguments = parser.parse_args()
    caffe.set_mode_cpu()
    checked = skipped = failed = layers = runs = unread = 0
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(path for tree in arguments.trees for path in tree.rglob("*.prototxt")):
            net = caffe_pb2.NetParameter()
            try:
                text_format.Parse(path.read_bytes().decode("utf-8-sig", errors="replace"), net)
            except text_format.ParseError:
                unread += 1  # A solver, or a net with a fork's own fields.
                continue
            name = path.relative_to(next(tree for tree in arguments.trees if tree in path.parents))
            phases = list(phases_of(net))
            known = phases and all(layer.type in KNOWN | DATA_TYPES for layer in net.layer)
            if not net.layer or not known or without_data(path, net) is None:
                skipped += bool(net.layer)
                print(f"left out {name}", flush=True)
                continue
            difference, count = None, 0
            for phase in phases:
                runs += 1
                found, count = judge(pathlib.Path(folder), arguments.gfpq, net, phase)
                difference = difference or found and f"{'TEST' if phase else 'TRAIN'}: {found}"
            checked, layers, failed = checked + 1, layers + count, failed + (difference is not None)
            print(f"{'FAILED' if difference else 'same  '} {name}: {count} Quant layers{', ' + difference if difference else ''}", flush=True)
    print(f"{checked} nets with {layers} Quant layers in {runs} runs of a phase, {checked - failed} the same when switched "
          f"off, {failed} not; {skipped} left out (their data's shape is not in the file, or they need layers that are not "
          f"in this Caffe, or run in no phase); {unread} files are no net that this Caffe reads")
    return 1 if failed or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
