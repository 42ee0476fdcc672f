"""scripts/diagnose.py as its user runs it: PYTHONPATH names a patched Caffe's python folder, GFPQ the program gfpq."""

import html.parser
import json
import os
import subprocess
import sys
import unittest

from support.tool_case import DATA_LAYERS, ENVIRONMENT, LOSS_LAYERS, SCRIPTS, ToolCase, train

import numpy as np

import caffe

# With a blob that two layers read, in-place layers, and a Quant layer whose top has two readers.
BODY = """
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }
layer { name: "side" type: "Convolution" bottom: "conv1" top: "side"
  convolution_param { num_output: 8 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "sum" type: "Eltwise" bottom: "conv2" bottom: "side" top: "sum" }
layer { name: "relu3" type: "ReLU" bottom: "sum" top: "sum" }
layer { name: "conv3" type: "Convolution" bottom: "sum" top: "conv3"
  convolution_param { num_output: 8 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu4" type: "ReLU" bottom: "conv3" top: "conv3" }
layer { name: "ip" type: "InnerProduct" bottom: "conv3" top: "ip"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
"""
NET = DATA_LAYERS + BODY + LOSS_LAYERS
DEPLOY = """
name: "Small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 16 dim: 1 dim: 8 dim: 8 } } }
""" + BODY + """
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""
SOLVER = """
net: "net.prototxt" test_iter: 3 test_interval: 1000 test_initialization: false
base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" max_iter: 200 snapshot_after_train: false random_seed: 1
"""
# The layer that spoil() damages.
BAD = "conv3"


class Page(html.parser.HTMLParser):
    """Reads a page: the tags not closed at its end, the addresses that it would fetch, and the number of its images."""

    def __init__(self, text):
        super().__init__()
        self.open, self.fetched, self.images = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.images += tag == "img"
        self.fetched += [value for name, value in attributes
                         if name in ("src", "href") and not value.startswith("data:")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


class DiagnoseTest(ToolCase):
    tool = "diagnose.py"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name, text in (("net", NET), ("deploy", DEPLOY), ("solver", SOLVER)):
            (cls.folder / f"{name}.prototxt").write_text(text)
        np.save(cls.folder / "images.npy", cls.images)
        train(cls.folder, "solver.prototxt", 200, "good.caffemodel")
        cls.spoil()

    @classmethod
    def spoil(cls):
        """Writes bad.caffemodel, with a layer that quantisation in 8 bits ruins.

        One channel of its bottom is always 0, and the weights for that channel are so large that the others become 0.
        """
        net = caffe.Net(str(cls.folder / "deploy.prototxt"), str(cls.folder / "good.caffemodel"), caffe.TEST)
        for name in ("conv2", "side"):
            net.params[name][0].data[3] = 0
            net.params[name][1].data[3] = -1
        net.params[BAD][0].data[:, 3] = 300
        net.save(str(cls.folder / "bad.caffemodel"))

    def diagnose(self, *arguments):
        """The finished process and its output folder."""
        out = self.new_out()
        return self.run_tool(*arguments, "-o", out), out

    def report(self, *arguments):
        """The content of report.json, the output folder, and the standard output of a run that must succeed."""
        done, out = self.diagnose(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads((out / "report.json").read_text()), out, done.stdout

    def refused(self, done, *words):
        """Checks that the tool failed, with these words in its messages."""
        self.assert_refused(done, words, done.stderr)

    def test_a_bad_layer_is_ranked_first(self):
        report, out, text = self.report("net.prototxt", "bad.caffemodel")
        self.assertEqual(report["sensitivity"][0]["layer"], BAD)
        self.assertEqual(report["advice"]["sixteen"], [BAD])
        modes = {name: mode["figures"]["accuracy"] for name, mode in report["modes"].items()}
        self.assertGreater(modes["float"], 0.85)
        self.assertLess(modes["data and weights"], modes["float"] - 0.05)
        self.assertLess(modes["weights"], modes["float"] - 0.05)
        # 16 bits for this layer, and leaving it in float, were measured.
        self.assertEqual(report["sixteen"][0]["layers"], [BAD])
        self.assertGreater(report["sixteen"][0]["figures"]["accuracy"], modes["float"] - 0.02)
        self.assertGreater(report["sensitivity"][0]["all_but_this"]["figures"]["accuracy"], modes["float"] - 0.03)
        layers = {layer["name"]: layer for layer in report["layers"]}
        self.assertGreater(layers[BAD]["weights"]["flushed"], 0.5)
        self.assertTrue(layers[BAD]["suspect"])
        self.assertFalse(layers["conv1"]["suspect"])
        self.assertIn(f"1. {BAD}", text)
        self.check_page(out)

    def test_filters_that_become_zero_are_reported(self):
        net = caffe.Net(str(self.folder / "deploy.prototxt"), str(self.folder / "good.caffemodel"), caffe.TEST)
        net.params["conv1"][0].data[:2] *= 1e-5
        net.save(str(self.folder / "quiet.caffemodel"))
        report, _, text = self.report("net.prototxt", "quiet.caffemodel")
        reported = [check for check in report["checks"] if "filters become zero altogether" in check["text"]]
        self.assertEqual([check["level"] for check in reported], ["warning"])
        self.assertIn("layer conv1: 2 of its", reported[0]["text"])
        self.assertIn("2 of its", text)

    def check_page(self, out):
        """Checks that report.html is well-formed and complete without other files."""
        text = (out / "report.html").read_text()
        page = Page(text)
        self.assertEqual((page.open, page.fetched), ([], []))
        self.assertGreaterEqual(page.images, 3)
        self.assertNotIn("://", text)

    def test_a_good_net_gets_no_advice(self):
        report, _, _ = self.report("net.prototxt", "good.caffemodel")
        self.assertEqual(report["advice"]["sixteen"], [])
        self.assertFalse(any(layer["suspect"] for layer in report["layers"]))
        excluded, _, _ = self.report("net.prototxt", "good.caffemodel", "--exclude", "conv1", "--batches", 1)
        self.assertEqual({entry["layer"] for entry in excluded["sensitivity"]}, {"conv2", "side", "conv3", "ip"})
        self.assertEqual([mode["error"] == 0 for mode in report["modes"].values()], [True, False, False, False])

    def test_a_deploy_net_takes_data_from_npy_npz_and_hdf5_files(self):
        """Without an accuracy, the error of the output ranks the layers."""
        np.savez(self.folder / "images.npz", data=self.images, other=self.labels)
        reports = [self.report("deploy.prototxt", "bad.caffemodel", "--data", name, "--output", "ip")[0]
                   for name in ("images.npy", "images.npz", "test.h5")]
        self.assertEqual(reports[0]["sensitivity"][0]["layer"], BAD)
        self.assertEqual(reports[0]["advice"]["sixteen"], [BAD])
        self.assertEqual(reports[0], reports[1])
        self.assertEqual(reports[0], reports[2])
        self.assertEqual(reports[0]["samples"], 64)

    def test_the_figures_of_a_retrained_model_are_those_of_caffe_with_its_ranges(self):
        command = [sys.executable, SCRIPTS / "finetune.py", "solver.prototxt", "good.caffemodel", "-o", "tuned",
                   "--iterations", "20"]
        subprocess.run(list(map(str, command)), cwd=self.folder, env=ENVIRONMENT, check=True, capture_output=True)
        net, weights = self.folder / "tuned/nets/net_quant.prototxt", self.folder / "tuned/retrained.caffemodel"
        report, _, _ = self.report(net, weights, "--batches", 3)
        before = os.getcwd()
        os.chdir(self.folder)
        self.addCleanup(os.chdir, before)
        built = caffe.Net(str(net), str(weights), caffe.TEST)
        figures = [{name: float(value) for name, value in built.forward().items()} for _ in range(3)]
        for name in ("accuracy", "loss"):
            self.assertAlmostEqual(report["modes"]["data and weights"]["figures"][name],
                                   np.mean([figure[name] for figure in figures]), places=6)
        self.assertIn("come with the model", report["ranges"])
        # The blob of conv1 has one Quant layer and two readers; each reader is ranked separately.
        self.assertEqual({entry["layer"] for entry in report["sensitivity"]}, {"conv1", "conv2", "side", "conv3", "ip"})
        self.refused(self.diagnose(net, weights, "--bits", 16)[0], "--bits is for float nets")

    def test_faults_of_a_training_are_reported(self):
        command = [ENVIRONMENT["GFPQ"], "prototxt", "add-quant", "net.prototxt", "--weights", "-o",
                   "net_quant.prototxt"]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)
        quantised = SOLVER.replace("net.prototxt", "net_quant.prototxt")

        def checks(text):
            (self.folder / "checked.prototxt").write_text(text)
            report, _, _ = self.report("net.prototxt", "good.caffemodel", "--solver", "checked.prototxt",
                                       "--batches", 1)
            return {check["text"]: check["level"] for check in report["checks"]}

        def found(text, level, words):
            findings = checks(text)
            self.assertTrue(any(words in text and own == level for text, own in findings.items()), findings)

        found(quantised.replace("0.05", "0.01"), "ok", "suits")
        found(quantised.replace("0.05", "5"), "warning", "too high")
        found(quantised.replace("0.05", "1e-9"), "warning", "too low")
        found(quantised.replace("0.05", "1e38"), "error", "not finite")
        found(SOLVER, "warning", "no Quant layers")
        found(SOLVER, "warning", "no weight_quant_param")
        trained = (self.folder / "net_quant.prototxt").read_text().replace("lr_mult: 0", "lr_mult: 1")
        (self.folder / "trained.prototxt").write_text(trained)
        found(SOLVER.replace("net.prototxt", "trained.prototxt"), "error", "would be trained as weights")

    def test_bad_input_is_refused_with_a_clear_message(self):
        def refuse(net, weights, *words, options=()):
            self.refused(self.diagnose(net, weights, *options)[0], *words)

        refuse("none.prototxt", "good.caffemodel", "none.prototxt", "No such file")
        refuse("solver.prototxt", "good.caffemodel", "not a NetParameter")
        refuse("net.prototxt", "net.prototxt", "net.prototxt")
        refuse("deploy.prototxt", "good.caffemodel", "--data", "16x1x8x8")
        np.save(self.folder / "odd.npy", np.zeros((4, 3, 8, 8)))
        refuse("deploy.prototxt", "good.caffemodel", "(4, 3, 8, 8)", options=["--data", "odd.npy"])
        refuse("deploy.prototxt", "good.caffemodel", "none.npy", options=["--data", "none.npy"])
        np.save(self.folder / "nan.npy", np.full((16, 1, 8, 8), np.nan))
        refuse("deploy.prototxt", "good.caffemodel", "NaN", options=["--data", "nan.npy"])
        refuse("net.prototxt", "good.caffemodel", "reads its own data", options=["--data", "images.npy"])
        refuse("net.prototxt", "good.caffemodel", "no blob 'none'", options=["--output", "none"])
        refuse("net.prototxt", "good.caffemodel", "nothing in it", options=["--exclude", "*"])
        (self.folder / "renamed.prototxt").write_text(NET.replace('"conv2" type', '"conv9" type'))
        refuse("renamed.prototxt", "good.caffemodel", "no weights", "conv9")
        net = caffe.Net(str(self.folder / "deploy.prototxt"), str(self.folder / "good.caffemodel"), caffe.TEST)
        net.params["side"][0].data[0] = np.nan
        net.save(str(self.folder / "nan.caffemodel"))
        refuse("net.prototxt", "nan.caffemodel", "side", "NaN")


if __name__ == "__main__":
    unittest.main()
