"""Checks in a patched Caffe that nets load with Quant layers, and that they compute the same with quantisation off.

Takes every prototxt of a Caffe tree, or of a folder, that is a net of this Caffe's layers and whose data layers can be
replaced by DummyData. The net is built as it is, and after `gfpq prototxt add-quant --weights`, with the same weights
and data. With quant_en: 0 every blob must be the same bit for bit, and the gradients must be equal to float rounding;
with quant_en: 1 the net must run. All nets run in TEST, those with a loss also in TRAIN.
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
from wiring import State, caffe_takes, included  # noqa: E402

DATA_TYPES = {"Data", "ImageData", "HDF5Data", "MemoryData", "WindowData"}
# The shape (channels, height, width) of an example's images, by its folder, for nets without a crop_size.
IMAGES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32), "siamese": (2, 28, 28), "hdf5_classification": (4, 1, 1)}
BATCH = 2
# Layer types that can be built here; the modules of Python layers are not available.
KNOWN = set(caffe.layer_type_list()) - {"Python"}


def image_shape(path, layer):
    """The shape of a data layer's images, or None if it is not known. `path` is the net's file."""
    crop = layer.transform_param.crop_size or layer.window_data_param.crop_size
    if crop:
        return (3, crop, crop)
    return next((shape for folder, shape in IMAGES.items() if folder in path.parts), None)


def without_data(path, net):
    """Replaces data layers by DummyData and reduces batches. Returns None if a data layer's shape is not known."""
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
    """Yields the phases that the net can run in: TEST, and TRAIN if it has a loss. One of them may have no data."""
    trains = any("Loss" in layer.type for layer in net.layer)
    for phase in [caffe.TRAIN, caffe.TEST] if trains else [caffe.TEST]:
        state = State(phase, level=0, stage=())
        if any(included(layer, state) for layer in net.layer) and caffe_takes(net, state):
            yield phase


def run(file, phase, weights):
    """Builds the net, and runs forward, in TRAIN also backward, with data that is the same in each call."""
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
    """Compares two nets, and returns what differs, or None.

    Blobs must be equal bit for bit, gradients only to rounding: where several meet, the order of the sum may differ.
    """
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
    """Checks one net in one phase. Returns what differs, or None, and the number of Quant layers."""
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
    parser.add_argument("--gfpq", required=True, help="the program gfpq")
    arguments = parser.parse_args()
    caffe.set_mode_cpu()
    checked = skipped = failed = layers = runs = unread = 0
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(path for tree in arguments.trees for path in tree.rglob("*.prototxt")):
            net = caffe_pb2.NetParameter()
            try:
                text_format.Parse(path.read_bytes().decode("utf-8-sig", errors="replace"), net)
            except text_format.ParseError:
                unread += 1  # A solver, or a net with fields that only a fork has.
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
            print(f"{'FAILED' if difference else 'same  '} {name}: {count} Quant layers"
                  f"{', ' + difference if difference else ''}", flush=True)
    print(f"{checked} nets with {layers} Quant layers, in {runs} runs of a phase: with quantisation off, "
          f"{checked - failed} compute the same, {failed} do not. {skipped} nets were left out: their data's shape "
          f"is not known, they need layers that are not in this Caffe, or they run in no phase. {unread} files are not "
          "nets that this Caffe reads.")
    return 1 if failed or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
