"""scripts/finetune.py as its user runs it: PYTHONPATH names a patched Caffe's python folder, GFPQ the program gfpq."""

import csv
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import time
import unittest

from quantkit import model, quantised_net

from support.tool_case import DATA_LAYERS, ENVIRONMENT, LOSS_LAYERS, SCRIPTS, ToolCase, train

import numpy as np

import caffe

# With shuffled data and dropout, whose state a resumed training must restore.
NET = DATA_LAYERS + """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "drop" dropout_param { dropout_ratio: 0.3 } }
layer { name: "ip" type: "InnerProduct" bottom: "drop" top: "ip"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
""" + LOSS_LAYERS
SOLVER = """
net: "net.prototxt"
test_iter: 3 test_interval: 100
base_lr: 0.1 momentum: 0.9 lr_policy: "step" gamma: 0.1 stepsize: 300
max_iter: 400 snapshot: 100 snapshot_prefix: "float"
"""


class FinetuneTest(ToolCase):
    tool = "finetune.py"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        (cls.folder / "net.prototxt").write_text(NET)
        (cls.folder / "solver.prototxt").write_text(SOLVER)
        train(cls.folder, "solver.prototxt", 300, "float.caffemodel")

    def new(self, *options, **how):
        """Trains in a new folder. Returns the finished process and that folder."""
        out = self.new_out()
        return self.run_tool("solver.prototxt", "float.caffemodel", "-o", out, *options, **how), out

    def refused(self, done, *words):
        """Checks that the tool failed, with these words in its last line."""
        self.assert_refused(done, words, "".join(done.stderr.strip().splitlines()[-1:]))

    def test_a_training_writes_model_curves_and_results(self):
        before = {path.name: path.read_bytes() for path in self.folder.glob("*.prototxt")}
        done, out = self.new("--iterations", 60, "--test-interval", 20)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("a tenth of the solver's 0.1", done.stderr)
        self.assertEqual([line.split()[0] for line in done.stdout.splitlines()[1:4]],
                         ["float", "quantised", "retrained"])
        results = {row["stage"]: row["accuracy"] for row in json.loads((out / "results.json").read_text())}
        self.assertGreater(results["retrained"], 0.8)
        with (out / "curves.csv").open() as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([int(row["iteration"]) for row in rows], list(range(1, 61)))
        self.assertEqual([row["iteration"] for row in rows if row["accuracy"]], ["20", "40", "60"])
        self.assertAlmostEqual(float(rows[0]["learning_rate"]), 0.01)
        self.assertLess(float(rows[-1]["learning_rate"]), 0.001)
        self.assertEqual((out / "curves.png").read_bytes()[:4], b"\x89PNG")
        # The ranges are in the model, and the user's files have not changed.
        net = caffe.proto.caffe_pb2.NetParameter()
        net.ParseFromString((out / "retrained.caffemodel").read_bytes())
        ranges = {layer.name: list(layer.blobs[0].data) for layer in net.layer if layer.type == "Quant"}
        self.assertEqual({row[0] for row in ranges.values()}, {8.0})
        self.assertEqual(before, {path.name: path.read_bytes() for path in self.folder.glob("*.prototxt")})
        # The accuracy in results.json is what Caffe itself gives for that model and net.
        before = os.getcwd()
        os.chdir(self.folder)
        self.addCleanup(os.chdir, before)
        net_file = next((out / "nets").glob("*_quant.prototxt"))
        test = caffe.Net(str(net_file), str(out / "retrained.caffemodel"), caffe.TEST)
        accuracy = np.mean([float(test.forward()["accuracy"]) for _ in range(3)])
        self.assertAlmostEqual(accuracy, results["retrained"], places=6)

    def test_resumed_training_equals_uninterrupted_training(self):
        options = ("--iterations", 400, "--test-interval", 30)
        done, whole = self.new(*options)
        self.assertEqual(done.returncode, 0, done.stderr)
        out = self.new_out()
        seen = set()

        def interrupt(send, *words):
            """Interrupts the tool by send(process) after its next snapshot. Returns all snapshots."""
            process = subprocess.Popen(self.command(*words), cwd=self.folder, env=ENVIRONMENT, stderr=subprocess.PIPE,
                                       text=True, start_new_session=True)
            while not set(out.glob("snapshots/*.solverstate")) - seen:
                self.assertIsNone(process.poll())
                time.sleep(0.01)
            send(process)
            _, errors = process.communicate()
            self.assertEqual(process.returncode, 130, errors)
            self.assertIn("--resume", errors)
            self.assertFalse((out / "retrained.caffemodel").exists())
            return set(out.glob("snapshots/*.solverstate"))

        # First as a terminal does it, for all processes; then as a job scheduler may, for the parent process only.
        seen = interrupt(lambda process: os.killpg(process.pid, signal.SIGINT),
                         "solver.prototxt", "float.caffemodel", "-o", out, *options)
        interrupt(lambda process: process.send_signal(signal.SIGINT), "--resume", out)
        # A training can be resumed after its folder was moved.
        moved = self.folder / "moved"
        out.rename(moved)
        done = self.run_tool("--resume", moved)
        self.assertEqual(done.returncode, 0, done.stderr)
        for name in ("retrained.caffemodel", "curves.csv", "results.json"):
            self.assertEqual((whole / name).read_bytes(), (moved / name).read_bytes(), name)

    def test_options_choose_what_is_quantised(self):
        for options, words, absent in (
                (["--data-only"], ["quant_en: 1"], ["weight_quant_param"]),
                (["--weights-only"], ["weight_quant_param", "quant_en: false"], []),
                (["--fold"], ["fold_batch_norm: 1"], []),
                (["--sixteen", "conv"], ["quant_bits: 16", "quant_bits: 8"], []),
                (["--bits", "16"], ["quant_bits: 16"], ["quant_bits: 8"]),
                (["--exclude", "conv"], ['"drop_quant"'], ['"data_quant"'])):
            done, out = self.new("--iterations", 2, *options)
            self.assertEqual(done.returncode, 0, done.stderr)
            net = (out / "nets" / "net_quant.prototxt").read_text()
            for word in words:
                self.assertIn(word, net, options)
            for word in absent:
                self.assertNotIn(word, net, options)

    def test_freeze_makes_batch_norm_use_its_stored_statistics(self):
        source, out = self.folder / "bn.prototxt", self.folder / "bn_quant.prototxt"
        source.write_text('input: "x" layer { name: "c" type: "Convolution" bottom: "x" top: "c" }\n'
                          'layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c" }\n')
        for freeze in (False, True):
            quantised_net.quantise(caffe, os.environ["GFPQ"], source, out, [], fold=True, freeze=freeze)
            net = model.read_text(out, caffe.proto.caffe_pb2.NetParameter())
            frozen = [layer.batch_norm_param.use_global_stats for layer in net.layer if layer.type == "BatchNorm"]
            self.assertEqual(frozen, [freeze])
            self.assertTrue(net.weight_quant_param.fold_batch_norm)

    def test_bad_input_is_refused_with_one_clear_line(self):
        def refuse(solver, weights, *words, options=()):
            self.refused(self.run_tool(solver, weights, "-o", self.new_out(), *options), *words)

        good = ("solver.prototxt", "float.caffemodel")
        refuse("none.prototxt", good[1], "none.prototxt", "No such file")
        refuse(good[0], "none.caffemodel", "none.caffemodel", "No such file")
        refuse("net.prototxt", good[1], "net.prototxt", "not a SolverParameter")
        refuse(good[0], "solver.prototxt", "solver.prototxt", "no weights")
        (self.folder / "short.caffemodel").write_bytes((self.folder / good[1]).read_bytes()[:-100])
        refuse(good[0], "short.caffemodel", "short.caffemodel", "cut short")
        refuse(*good, "nothing in it", options=["--exclude", "*"])
        refuse(*good, "no such", options=["--gfpq", "no such"])

        def variant(name, text, *changes):
            for old, new in changes:
                self.assertIn(old, text)
                text = text.replace(old, new)
            (self.folder / name).write_text(text)
            return name

        untested = variant("untested.prototxt", SOLVER, ("test_iter: 3 test_interval: 100", ""))
        refuse(untested, good[1], "no test net", "test_iter")
        elsewhere = variant("elsewhere.prototxt", SOLVER, ("net.prototxt", "other/net.prototxt"))
        refuse(elsewhere, good[1], "other/net.prototxt", "run from the folder")
        variant("renamed_net.prototxt", NET, ('name: "conv"', 'name: "conv9"'))
        renamed = variant("renamed.prototxt", SOLVER, ("net.prototxt", "renamed_net.prototxt"))
        refuse(renamed, good[1], "no weights", "conv9")
        variant("wider_net.prototxt", NET, ("num_output: 8", "num_output: 9"))
        wider = variant("wider.prototxt", SOLVER, ("net.prototxt", "wider_net.prototxt"))
        refuse(wider, good[1], "conv", "(8, 1, 3, 3)", "(9, 1, 3, 3)")
        # An error that only Caffe detects is reported with Caffe's message, in one line.
        variant("odd_net.prototxt", NET, ("kernel_size: 3", "kernel_size: 99"))
        odd = variant("odd.prototxt", SOLVER, ("net.prototxt", "odd_net.prototxt"))
        refuse(odd, good[1], "Caffe stopped", "Check failed")

    def test_diverging_training_stops(self):
        done, _ = self.new("--base-lr", 1e38, "--iterations", 40)
        self.refused(done, "--base-lr")

    def test_a_folder_with_a_training_is_not_overwritten(self):
        done, out = self.new("--iterations", 3)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.refused(self.run_tool("solver.prototxt", "float.caffemodel", "-o", out), "--resume")
        # If a finished training is resumed, it prints its table again.
        again = self.run_tool("--resume", out)
        self.assertEqual((again.returncode, again.stdout), (0, done.stdout), again.stderr)
        self.refused(self.run_tool("--resume", self.folder), "no training")
        other = self.run_tool("--resume", out, "--iterations", 300)
        self.assertEqual(other.returncode, 2)
        self.assertIn("options that OUT was begun with", other.stderr)

    def test_resume_finds_the_caffe_that_the_training_was_begun_with(self):
        """The path of that Caffe is relative to the folder of the first run; --resume runs in another folder."""
        root = os.path.relpath(pathlib.Path(caffe.__file__).resolve().parents[2], self.folder)
        done, out = self.new("--iterations", 2, "--caffe", root)
        self.assertEqual(done.returncode, 0, done.stderr)
        environment = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"}
        again = subprocess.run(self.command("--resume", out), cwd="/", env=environment, capture_output=True, text=True,
                               check=False)
        self.assertEqual(again.returncode, 0, again.stderr)

    # This limit on the size of files stands for a full disk: models fit, the space reserved for a snapshot does not.
    FULL = (2**19, 2**19)

    def test_a_full_disk_is_reported_before_training(self):
        done, out = self.new("--iterations", 20,
                             preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, self.FULL))
        self.refused(done, "no snapshot at iteration 0", "snapshots", "no room for")
        # Without the limit, the training can be resumed.
        self.assertEqual(self.run_tool("--resume", out).returncode, 0)

    def test_when_the_disk_fills_up_only_later_snapshots_are_lost(self):
        out = self.new_out()
        process = subprocess.Popen(
            self.command("solver.prototxt", "float.caffemodel", "-o", out, "--iterations", 400, "--snapshot", 20),
            cwd=self.folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        while not list(out.glob("snapshots/*.solverstate")):
            self.assertIsNone(process.poll())
            time.sleep(0.01)
        # The training runs in a child process of the tool.
        for child in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            resource.prlimit(int(child), resource.RLIMIT_FSIZE, self.FULL)
        _, errors = process.communicate()
        self.assertEqual(process.returncode, 1, errors)
        self.assertIn("no snapshot at iteration 380", errors)
        self.assertIn("training goes on", errors)
        self.assertIn("no snapshot at iteration 400", errors.strip().splitlines()[-1])
        self.assertNotEqual(list(out.glob("snapshots/*.solverstate")), [])
        self.assertEqual(list(out.glob("snapshots/part/*")), [])
        self.assertEqual(self.run_tool("--resume", out).returncode, 0)

    def test_without_float_masters_small_steps_are_lost(self):
        """At a small learning rate a net learns with float weights, but not with overwritten ones (masters.py)."""
        done, out = self.new("--iterations", 2)
        self.assertEqual(done.returncode, 0, done.stderr)
        command = [sys.executable, SCRIPTS / "sample/digits/masters.py", out, "--base-lr", 0.001, "--iterations", 400]
        text = subprocess.run(list(map(str, command)), env=ENVIRONMENT, capture_output=True, text=True,
                              check=True).stdout
        accuracy = [float(re.search(r"accuracy ([\d.]+)%", line)[1]) for line in text.splitlines()]
        self.assertGreater(accuracy[0], accuracy[1] + 25, text)

    def test_an_unpatched_caffe_is_refused(self):
        fake = self.folder / "fake" / "python" / "caffe"
        fake.mkdir(parents=True)
        (fake / "_caffe.so").touch()
        (fake / "__init__.py").write_text(
            "class NetParameter:\n    class DESCRIPTOR:\n        fields_by_name = {}\n"
            "class proto:\n    class caffe_pb2:\n        pass\n"
            "proto.caffe_pb2.NetParameter = NetParameter\n"
            "def layer_type_list(): return ['Convolution']\n")
        done, _ = self.new("--caffe", self.folder / "fake")
        self.refused(done, "no Quant layer", "gfpq patch apply")
        done, _ = self.new("--caffe", self.folder)
        self.refused(done, "make pycaffe")


if __name__ == "__main__":
    unittest.main()
