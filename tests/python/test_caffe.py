"""Quant layers and quantised weights in pycaffe of a patched Caffe: PYTHONPATH and GFPQ as in support/caffe_case.py."""

import pathlib
import unittest

from support.caffe_case import CaffeCase

import numpy as np

import caffe
import gfpq

# The Quant layer as the vendor's guide writes it.
GUIDE = """
layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 2 dim: 5 } } }
layer {
    name: 'quant_layer_sample'
    type: 'Quant'
    bottom: 'data'
    top: 'quant_layer_sample'
    quant_param
    {
        quant_bits: 8
        quant_en: 1
    }
}
"""

FLOAT = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "side" type: "InnerProduct" bottom: "conv" top: "side"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "sum" type: "Eltwise" bottom: "ip" bottom: "side" top: "sum" }
"""

SOLVER = "base_lr: 0.01 momentum: 0.9 weight_decay: 0.01 lr_policy: 'fixed' max_iter: 9 random_seed: 3 {} net: '{}'"
TRAINING = FLOAT + """
layer { name: "label" type: "DummyData" top: "label" dummy_data_param { shape { dim: 4 dim: 5 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "sum" bottom: "label" top: "loss" }
"""


class CaffeTest(CaffeCase):
    def setUp(self):
        super().setUp()
        self.images = np.random.default_rng(1).normal(size=(4, 3, 8, 8)).astype(np.float32)

    def prototxt(self, verb, source, *options):
        """The path of the file that a `gfpq prototxt` command makes of the file `source`."""
        out = self.path(f"{verb}.prototxt")
        self.gfpq("prototxt", verb, source, "-o", out, *options)
        return out

    def test_the_quant_layer_of_the_vendors_guide_quantises_its_bottom(self):
        net = caffe.Net(self.path("guide.prototxt", GUIDE), caffe.TEST)
        net.blobs["data"].data[...] = np.arange(10).reshape(2, 5)
        expected = gfpq.quantise(np.arange(10, dtype=np.float32))[0]
        np.testing.assert_array_equal(net.forward()["quant_layer_sample"].ravel(), expected)

    def test_every_nnie_layer_reads_quantised_data(self):
        source = self.path("float.prototxt", FLOAT)
        quantised = caffe.Net(self.prototxt("add-quant", source), caffe.TRAIN)
        quantised.blobs["data"].data[...] = self.images
        quantised.forward()
        for blob in ("data", "conv", "pool"):
            np.testing.assert_array_equal(
                quantised.blobs[blob + "_quant"].data, gfpq.quantise(quantised.blobs[blob].data)[0])

    def test_with_quantisation_off_the_net_computes_as_the_float_net(self):
        source = self.path("float.prototxt", FLOAT)
        off = pathlib.Path(self.prototxt("add-quant", source, "--weights"))
        off.write_text(off.read_text().replace("quant_en: 1", "quant_en: 0"))
        nets = [caffe.Net(source, caffe.TEST), caffe.Net(str(off), caffe.TEST)]
        nets[0].save(str(self.folder / "float.caffemodel"))
        nets[1].copy_from(str(self.folder / "float.caffemodel"))
        for net in nets:
            net.blobs["data"].data[...] = self.images
        np.testing.assert_array_equal(nets[0].forward()["sum"], nets[1].forward()["sum"])

    def test_forward_uses_quantised_weights_and_params_hold_float_weights(self):
        source = self.path("float.prototxt", FLOAT)
        net = caffe.Net(self.prototxt("add-quant", source, "--weights"), caffe.TEST)
        masters = net.params["ip"][0].data.copy()
        net.blobs["data"].data[...] = self.images
        net.forward()
        np.testing.assert_array_equal(net.params["ip"][0].data, masters)
        weights = gfpq.quantise(masters)[0]
        expected = net.blobs["pool_quant"].data.reshape(4, -1) @ weights.T
        np.testing.assert_allclose(net.blobs["ip"].data, expected, rtol=1e-4, atol=1e-5)
        self.assertFalse(np.array_equal(weights, masters))

    def train(self, net, iterations, options="", state=None):
        """Trains, and returns the solver and copies of all blobs; `state` is a solverstate to start from."""
        solver = caffe.get_solver(self.path("solver.prototxt", SOLVER.format(options, net)))
        if state is not None:
            solver.restore(state)
        for _ in range(iterations):
            solver.net.blobs["data"].data[...] = self.images
            solver.step(1)
        return solver, [blob.data.copy() for blobs in solver.net.params.values() for blob in blobs]

    def test_resumed_training_equals_uninterrupted_training(self):
        source = self.prototxt("add-quant", self.path("float.prototxt", TRAINING), "--weights")
        options = f"snapshot_prefix: '{self.folder}/snap'"
        _, whole = self.train(source, 8, options)
        solver, _ = self.train(source, 3, options)
        solver.snapshot()
        _, resumed = self.train(source, 5, options, f"{self.folder}/snap_iter_3.solverstate")
        for a, b in zip(whole, resumed):
            np.testing.assert_array_equal(a, b)

    def test_weights_stay_float_and_ranges_are_not_trained_with_iter_size(self):
        source = self.prototxt("add-quant", self.path("float.prototxt", TRAINING), "--weights")
        solver, params = self.train(source, 4, "iter_size: 2")
        weights = solver.net.params["ip"][0].data
        self.assertFalse(np.array_equal(gfpq.quantise(weights)[0], weights))
        # Weight decay and momentum must not change the range.
        self.assertEqual(list(solver.net.params["data_quant"][0].data[0]), [8, gfpq.quantise(self.images)[1]])

    def test_strip_quant_restores_the_float_net(self):
        source = self.path("float.prototxt", FLOAT)
        stripped = self.prototxt("strip-quant", self.prototxt("add-quant", source, "--weights"))
        self.assertEqual(pathlib.Path(stripped).read_text(), FLOAT)


if __name__ == "__main__":
    unittest.main()
