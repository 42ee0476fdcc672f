"""`gfpq model` compared with a patched Caffe: PYTHONPATH and GFPQ as in support/caffe_case.py."""

import json
import pathlib
import re
import unittest

from support.caffe_case import CaffeCase

import numpy as np

import caffe
import gfpq
from caffe.proto import caffe_pb2

INPUT = (
    'layer {{ name: "data" type: "Input" top: "data"\n'
    '  input_param {{ shape {{ dim: 4 dim: {} dim: 12 dim: 12 }} }} }}\n')


def conv(name, bottom, outputs, options="kernel_size: 3 pad: 1", bias="bias_term: false", kind="Convolution", top=None):
    return (
        f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{top or name}"\n'
        f'  convolution_param {{ num_output: {outputs} {options} {bias} weight_filler {{ type: "msra" }} }} }}\n')


def batch_norm(name, bottom, top=None, options=""):
    return f'layer {{ name: "{name}" type: "BatchNorm" bottom: "{bottom}" top: "{top or bottom}" {options} }}\n'


def scale(name, bottom, top=None, bias="bias_term: true"):
    return (
        f'layer {{ name: "{name}" type: "Scale" bottom: "{bottom}" top: "{top or bottom}"\n'
        f'  scale_param {{ {bias} }} }}\n')


def relu(bottom):
    return f'layer {{ name: "relu_{bottom}" type: "ReLU" bottom: "{bottom}" top: "{bottom}" }}\n'


def inner_product(name, bottom, outputs, options=""):
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}"\n'
        f'  inner_product_param {{ num_output: {outputs} weight_filler {{ type: "xavier" }} {options} }} }}\n')


def layer(name, kind, bottoms, top, options=""):
    bottoms = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    return f'layer {{ name: "{name}" type: "{kind}" {bottoms} top: "{top}" {options} }}\n'


# Two residual blocks, one with a projection and one without, with in-place layers as in the published ResNet-50.
RESIDUAL = (
    INPUT.format(3)
    + conv("conv1", "data", 8) + batch_norm("bn1", "conv1") + scale("scale1", "conv1") + relu("conv1")
    + conv("proj", "conv1", 16, "kernel_size: 1 stride: 2") + batch_norm("bn_proj", "proj")
    + scale("scale_proj", "proj")
    + conv("a1", "conv1", 16, "kernel_size: 3 pad: 1 stride: 2") + batch_norm("bn_a1", "a1") + scale("scale_a1", "a1")
    + relu("a1") + conv("a2", "a1", 16) + batch_norm("bn_a2", "a2") + scale("scale_a2", "a2")
    + layer("sum_a", "Eltwise", ["proj", "a2"], "sum_a") + relu("sum_a")
    + conv("b1", "sum_a", 16) + batch_norm("bn_b1", "b1") + scale("scale_b1", "b1") + relu("b1")
    + conv("b2", "b1", 16) + batch_norm("bn_b2", "b2") + scale("scale_b2", "b2")
    + layer("sum_b", "Eltwise", ["sum_a", "b2"], "sum_b") + relu("sum_b")
    + layer("pool", "Pooling", ["sum_b"], "pool", "pooling_param { pool: AVE global_pooling: true }")
    + inner_product("fc", "pool", 5))

# A depthwise and a pointwise convolution without in-place layers, as MobileNet's converters write them.
DEPTHWISE = (
    INPUT.format(3)
    + conv("conv1", "data", 8) + batch_norm("conv1/bn", "conv1", "conv1/bn") + scale("conv1/sc", "conv1/bn", "conv1/sc")
    + relu("conv1/sc")
    + conv("dw", "conv1/sc", 8, "kernel_size: 3 pad: 1 group: 8") + batch_norm("dw/bn", "dw", "dw/bn")
    + scale("dw/sc", "dw/bn", "dw/sc") + relu("dw/sc")
    + conv("pw", "dw/sc", 12, "kernel_size: 1") + batch_norm("pw/bn", "pw", "pw/bn") + scale("pw/sc", "pw/bn", "pw/sc"))

# Branches as in GoogLeNet: with a bias, with Scale only, with BatchNorm only, and one whose BatchNorm cannot be folded.
BRANCHES = (
    INPUT.format(3)
    + conv("stem", "data", 8, bias="") + batch_norm("stem/bn", "stem", options="batch_norm_param { eps: 0.001 }")
    + scale("stem/scale", "stem") + relu("stem")
    + conv("b1", "stem", 4, "kernel_size: 1", bias="") + scale("b1/scale", "b1", bias="") + relu("b1")
    + conv("b3r", "stem", 4, "kernel_size: 1") + batch_norm("b3r/bn", "b3r", "b3r/out") + relu("b3r/out")
    + conv("b3", "b3r/out", 6) + batch_norm("b3/bn", "b3", "b3/bn") + scale("b3/scale", "b3/bn") + relu("b3/bn")
    + conv("side", "stem", 4, "kernel_size: 1", bias="") + batch_norm("side/bn", "side", "side/bn")
    + layer("pool", "Pooling", ["stem"], "pool", "pooling_param { pool: MAX kernel_size: 3 stride: 1 pad: 1 }")
    + conv("bp", "pool", 4, "kernel_size: 1", bias="") + batch_norm("bp/bn", "bp") + scale("bp/scale", "bp", bias="")
    + layer("concat", "Concat", ["b1", "b3/bn", "side", "side/bn", "bp"], "concat")
    + batch_norm("pre/bn", "concat", "pre") + scale("pre/scale", "pre") + relu("pre")
    + inner_product("fc", "pre", 7, "transpose: true") + batch_norm("fc/bn", "fc") + scale("fc/scale", "fc"))

# Grouped and plain deconvolution.
UPWARDS = (
    INPUT.format(6)
    + conv("up1", "data", 4, "kernel_size: 4 stride: 2 pad: 1", kind="Deconvolution")
    + batch_norm("up1/bn", "up1") + scale("up1/scale", "up1") + relu("up1")
    + conv("up2", "up1", 6, "kernel_size: 2 stride: 2 group: 2", kind="Deconvolution", bias="")
    + batch_norm("up2/bn", "up2", "up2/bn") + scale("up2/scale", "up2/bn", "up2/scale"))


def random_net(random, steps=24):
    """Random convolutions and deconvolutions, BatchNorm, Scale and ReLU, in place or not, with sums and branches."""
    channels = {"data": 4}
    # Blobs that have a reader already: Caffe refuses an in-place layer on these.
    read = {"data"}
    text = INPUT.format(4)
    for step in range(steps):
        name = f"l{step}"
        # The latest blob is the most likely bottom, so that chains develop.
        bottom = list(channels)[-1] if random.random() < 0.7 else str(random.choice(list(channels)))
        count = channels[bottom]
        top = bottom if bottom not in read and random.random() < 0.5 else name
        bias = str(random.choice(["bias_term: true", "bias_term: false"]))
        kind = random.choice(["conv", "depthwise", "up", "norm", "norm", "norm", "scale", "scale", "relu", "sum"])
        if kind == "conv":
            top, made = name, int(random.choice([4, 6]))
            text += conv(name, bottom, made, bias=bias)
        elif kind == "depthwise":
            top, made = name, count
            text += conv(name, bottom, made, f"kernel_size: 3 pad: 1 group: {count}", bias)
        elif kind == "up":
            top, made = name, 4
            text += conv(name, bottom, made, "kernel_size: 3 pad: 1 group: 2", bias, "Deconvolution")
        elif kind == "sum":
            others = [blob for blob in channels if channels[blob] == count and blob != bottom]
            if not others:
                continue
            top, made, other = name, count, str(random.choice(others))
            read.add(other)
            text += layer(name, "Eltwise", [bottom, other], name)
        else:
            made = count
            text += {
                "norm": lambda: batch_norm(name, bottom, top), "scale": lambda: scale(name, bottom, top, bias),
                "relu": lambda: layer(name, "ReLU", [bottom], top),
            }[kind]()
        if top != bottom:
            read.add(bottom)
        channels.pop(top, None)
        channels[top] = made
    return text


class ModelTest(CaffeCase):
    def setUp(self):
        super().setUp()
        self.random = np.random.default_rng(3)
        # The options that name the net and the model of trained().
        self.inputs = ("--net", self.path("net.prototxt"), "--weights", self.path("net.caffemodel"))

    def trained(self, text, phase=caffe.TEST):
        """Writes net.prototxt and net.caffemodel, and returns the net.

        Statistics, factors and biases are random as after a training: unequal, some factors negative, one 0.
        """
        net = caffe.Net(self.path("net.prototxt", text), phase)
        kinds = dict(zip(net._layer_names, (layer.type for layer in net.layers)))
        for name, blobs in net.params.items():
            shape = blobs[0].data.shape
            if kinds[name] == "BatchNorm":
                count = self.random.uniform(1, 900)
                blobs[0].data[...] = count * self.random.normal(size=shape)
                blobs[1].data[...] = count * np.exp(self.random.uniform(-6, 3, size=shape))
                blobs[2].data[...] = count
            elif kinds[name] == "Scale":
                blobs[0].data[...] = self.random.normal(size=shape)
                blobs[0].data[1] = 0
            if kinds[name] != "BatchNorm" and len(blobs) > 1:
                blobs[1].data[...] = self.random.normal(size=blobs[1].data.shape)
        net.save(self.path("net.caffemodel"))
        return net

    def fold(self, *options):
        """Folds the net of trained() to out.prototxt and out.caffemodel."""
        out = ("--out-net", self.path("out.prototxt"), "--out-weights", self.path("out.caffemodel"))
        return self.gfpq("model", "fold", *self.inputs, *out, *options)

    def check_fold(self, text, layers, left):
        """Checks that these layers were folded into and those left; returns the account."""
        account = self.check_outputs(text)
        self.assertEqual([layer["name"] for layer in account["layers"]], layers)
        self.assertEqual([layer["name"] for layer in account["left"]], left)
        return account

    def check_outputs(self, text):
        """Checks that the folded net computes the same as the net, and returns the account of the folding."""
        net = self.trained(text)
        account = json.loads(self.fold("--json").stdout)
        folded = caffe.Net(self.path("out.prototxt"), self.path("out.caffemodel"), caffe.TEST)
        self.assertEqual(len(folded.layers), len(net.layers) - sum(len(l["folded"]) for l in account["layers"]))
        images = self.random.normal(size=net.blobs["data"].data.shape)
        outputs = []
        for each in (net, folded):
            each.blobs["data"].data[...] = images
            outputs.append({name: values.copy() for name, values in each.forward().items()})
        self.assertEqual(list(outputs[0]), list(outputs[1]))
        for name, expected in outputs[0].items():
            error = np.abs(outputs[1][name] - expected).max() / np.abs(expected).max()
            self.assertLess(error, 1e-5, f"{name} of\n{text}")
            self.assertGreater(np.abs(expected).std(), 0)
        return account

    def test_folding_keeps_the_outputs_of_random_nets(self):
        folded = left = 0
        for seed in range(40):
            account = self.check_outputs(random_net(np.random.default_rng(seed)))
            folded += len(account["layers"])
            left += len(account["left"])
        self.assertGreater(folded, 40)
        self.assertGreater(left, 40)

    def test_a_residual_net_is_folded_completely(self):
        names = ["conv1", "proj", "a1", "a2", "b1", "b2"]
        self.check_fold(RESIDUAL, names, [])
        text = pathlib.Path(self.path("out.prototxt")).read_text()
        self.assertEqual([text.count(word) for word in ("BatchNorm", "Scale", "bias_term: true")], [0, 0, 6])

    def test_depthwise_convolutions_are_folded(self):
        account = self.check_fold(DEPTHWISE, ["conv1", "dw", "pw"], [])
        self.assertEqual([stage["name"] for stage in account["layers"][1]["folded"]], ["dw/bn", "dw/sc"])

    def test_a_batch_norm_with_other_readers_or_without_convolution_is_left(self):
        names = ["stem", "b1", "b3r", "b3", "bp", "fc"]
        account = self.check_fold(BRANCHES, names, ["side/bn", "pre/bn", "pre/scale"])
        self.assertIn("`concat`, too", account["left"][0]["reason"])
        self.assertIn("Concat", account["left"][1]["reason"])

    def test_deconvolutions_are_folded(self):
        self.check_fold(UPWARDS, ["up1", "up2"], [])

    def test_batch_norm_without_statistics_folds_to_what_caffe_computes(self):
        net = caffe.Net(self.path("net.prototxt", RESIDUAL), caffe.TEST)
        net.save(self.path("net.caffemodel"))
        self.fold()
        folded = caffe.Net(self.path("out.prototxt"), self.path("out.caffemodel"), caffe.TEST)
        for each in (net, folded):
            each.blobs["data"].data[...] = 1e-3
        expected = net.forward()["fc"]
        np.testing.assert_allclose(folded.forward()["fc"], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())

    def outputs_in_float(self, model, text):
        """The outputs with this model's weights of the net with Quant layers, but without weight_quant_param."""
        text = re.sub(r"weight_quant_param \{.*\}", "", text)
        net = caffe.Net(self.path("float.prototxt", text), self.path(model), caffe.TEST)
        net.blobs["data"].data[...] = self.images
        return {name: values.copy() for name, values in net.forward().items()}

    def quantised_by_both(self, text, *options):
        """Compares Caffe's WeightQuantizer with `gfpq model quantize`, on the same images.

        Returns the outputs with WeightQuantizer, those of the float net with the quantised model, and the layers that
        gfpq reports.
        """
        self.trained(text)
        net_file = self.path("net.prototxt")
        self.gfpq("prototxt", "add-quant", net_file, "-o", net_file, "--weights", *options)
        text = pathlib.Path(self.path("net.prototxt")).read_text()
        net = caffe.Net(self.path("net.prototxt"), self.path("net.caffemodel"), caffe.TEST)
        self.images = self.random.normal(size=net.blobs["data"].data.shape)
        net.blobs["data"].data[...] = self.images
        seen = {name: values.copy() for name, values in net.forward().items()}
        out = ("--out-weights", self.path("q.caffemodel"))
        account = self.gfpq("model", "quantize", *self.inputs, *out, "--json").stdout
        return seen, self.outputs_in_float("q.caffemodel", text), json.loads(account)["layers"]

    def test_model_quantize_writes_the_weights_that_weight_quantizer_uses(self):
        named = RESIDUAL.replace('"a2"', '"a2_hp"').replace('"fc"', '"fc_hp"')
        for text in (named, DEPTHWISE, BRANCHES, UPWARDS):
            seen, written, layers = self.quantised_by_both(text)
            self.assertEqual(list(seen), list(written))
            for name in seen:
                np.testing.assert_array_equal(seen[name], written[name])
                self.assertFalse(np.array_equal(seen[name], self.outputs_in_float("net.caffemodel", text)[name]))
            self.assertEqual({layer["bits"] for layer in layers}, {8, 16} if text is named else {8})
            self.assertFalse(any(layer["folded"] for layer in layers))

    def test_model_quantize_follows_fold_batch_norm_as_weight_quantizer_does(self):
        drawn = [random_net(np.random.default_rng(seed)) for seed in range(20)]
        for text in (RESIDUAL, DEPTHWISE, BRANCHES, UPWARDS, *drawn):
            seen, written, layers = self.quantised_by_both(text, "--fold")
            for name in seen:
                np.testing.assert_array_equal(seen[name], written[name], text)
            self.assertTrue(text in drawn or any(layer["folded"] for layer in layers))

    def test_a_net_with_fold_batch_norm_computes_as_the_folded_net(self):
        for text in (RESIDUAL, DEPTHWISE, BRANCHES, UPWARDS):
            # Without Quant layers: they would turn a difference in the last bit into a step of one code.
            aware = self.trained("weight_quant_param { fold_batch_norm: true }\n" + text)
            self.fold()
            folded = caffe.Net(self.path("out.prototxt"), self.path("out.caffemodel"), caffe.TEST)
            plain = caffe.Net(self.path("float.prototxt", text), self.path("net.caffemodel"), caffe.TEST)
            images = self.random.normal(size=aware.blobs["data"].data.shape)
            for net in (aware, folded, plain):
                net.blobs["data"].data[...] = images
                net.forward()
            for name in aware.outputs:
                expected = aware.blobs[name].data
                largest = np.abs(expected).max()
                self.assertLess(np.abs(folded.blobs[name].data - expected).max() / largest, 1e-5, name)
                self.assertGreater(np.abs(plain.blobs[name].data - expected).max() / largest, 1e-3, name)

    def test_every_form_of_blob_that_protobuf_writes_is_read(self):
        self.trained(UPWARDS)
        self.gfpq("model", "quantize", *self.inputs, "--out-weights", self.path("expected.caffemodel"))
        expected = caffe_pb2.NetParameter.FromString(pathlib.Path(self.path("expected.caffemodel")).read_bytes())
        model = caffe_pb2.NetParameter.FromString(pathlib.Path(self.path("net.caffemodel")).read_bytes())
        for layer in model.layer:
            for number, blob in enumerate(layer.blobs):
                if number == 0:
                    blob.double_data.extend(blob.data)
                    del blob.data[:]
                if layer.name == "up1" and len(blob.shape.dim) == 4:
                    blob.num, blob.channels, blob.height, blob.width = blob.shape.dim
                    blob.ClearField("shape")
        pathlib.Path(self.path("net.caffemodel")).write_bytes(model.SerializeToString())
        self.gfpq("model", "quantize", *self.inputs, "--out-weights", self.path("q.caffemodel"))
        written = caffe_pb2.NetParameter.FromString(pathlib.Path(self.path("q.caffemodel")).read_bytes())
        for layer, same in zip(written.layer, expected.layer):
            for field in ("name", "type", "bottom", "top", "convolution_param"):
                self.assertEqual(getattr(layer, field), getattr(same, field))
            for number, (blob, other) in enumerate(zip(layer.blobs, same.blobs)):
                np.testing.assert_array_equal(blob.double_data if number == 0 else blob.data, other.data)
        self.fold()
        folded = caffe.Net(self.path("out.prototxt"), self.path("out.caffemodel"), caffe.TEST)
        self.assertEqual(list(folded.params), ["up1", "up2"])

    def test_export_params_and_info_report_the_ranges_of_a_trained_net(self):
        self.trained(RESIDUAL)
        self.gfpq("prototxt", "add-quant", self.path("net.prototxt"), "-o", self.path("net.prototxt"))
        net = caffe.Net(self.path("net.prototxt"), self.path("net.caffemodel"), caffe.TRAIN)
        images = self.random.normal(size=net.blobs["data"].data.shape)
        net.blobs["data"].data[...] = images
        net.forward()
        net.save(self.path("net.caffemodel"))
        data = json.loads(self.gfpq("model", "export-params", *self.inputs).stdout)["data"]
        for entry in data:
            self.assertEqual(entry["range"]["delta"], net.params[entry["quant_layer"]][0].data[0, 1])
        self.assertEqual((data[0]["blob"], data[0]["feeds"]), ("data", ["conv1"]))
        largest = np.abs(images.astype(np.float32)).max()
        self.assertLessEqual(data[0]["range"]["largest"], largest)
        self.assertGreater(data[0]["range"]["largest"], largest * 2 ** (-1 / 16))
        self.assertEqual({entry["blob"] for entry in data}, {"data", "conv1", "a1", "sum_a", "b1", "sum_b", "pool"})
        info = json.loads(self.gfpq("model", "info", self.path("net.caffemodel"), "--json").stdout)
        shown = {layer["name"]: layer for layer in info["layers"]}
        self.assertEqual(shown["data_quant"]["ranges"], [data[0]["range"]])
        weights = net.params["b1"][0].data
        self.assertEqual(shown["b1"]["blobs"][0]["values"]["abs_max"], np.abs(weights).max())
        quantised, _ = gfpq.quantise(weights)
        flushed = np.sum((quantised == 0) & (weights != 0))
        self.assertEqual(shown["b1"]["blobs"][0]["quantised"][0]["flushed_to_zero"], flushed)


if __name__ == "__main__":
    unittest.main()
