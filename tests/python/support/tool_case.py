"""What the tests of finetune.py and diagnose.py share: data, a small trained net, and a case that runs the tools."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

os.environ.setdefault("GLOG_minloglevel", "2")

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402

import caffe  # noqa: E402

SCRIPTS = pathlib.Path(__file__).resolve().parents[3] / "scripts"
# The tools run in other folders, so the path of gfpq must be absolute. They get their modules from SCRIPTS.
ENVIRONMENT = {**os.environ, "GFPQ": os.path.abspath(os.environ["GFPQ"]),
               "PYTHONPATH": str(pathlib.Path(caffe.__file__).resolve().parents[1])}

# The first and the last layers of a net that is trained on the digits and tested.
DATA_LAYERS = """
name: "Small"
layer { name: "digits" type: "HDF5Data" top: "data" top: "label" include { phase: TRAIN }
  hdf5_data_param { source: "train.txt" batch_size: 32 shuffle: true } }
layer { name: "digits" type: "HDF5Data" top: "data" top: "label" include { phase: TEST }
  hdf5_data_param { source: "test.txt" batch_size: 64 } }
"""
LOSS_LAYERS = """
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def write_digits(folder):
    """Writes train.txt (1000 digits) and test.txt (192) for HDF5Data layers; returns the test images and labels."""
    digits = load_digits()
    images, labels = (digits.images / 16).astype(np.float32)[:, np.newaxis], digits.target.astype(np.float32)
    for name, rows in (("train", slice(0, 1000)), ("test", slice(1000, 1192))):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["data"], file["label"] = images[rows], labels[rows]
        (folder / f"{name}.txt").write_text(f"{name}.h5\n")
    return images[1000:1192], labels[1000:1192]


def train(folder, solver, iterations, out):
    """Trains in the folder, writes the caffemodel `out`, and returns the solver."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        caffe.set_mode_cpu()
        solver = caffe.get_solver(solver)
        solver.step(iterations)
        solver.net.save(out)
        return solver
    finally:
        os.chdir(before)


class ToolCase(unittest.TestCase):
    """A folder with the digits, in which a subclass runs the script that `tool` names."""

    tool = None

    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        cls.folder = pathlib.Path(scratch.name)
        cls.images, cls.labels = write_digits(cls.folder)
        cls.runs = 0

    def new_out(self):
        """A path for the output of one run; nothing is there yet."""
        type(self).runs += 1
        return self.folder / f"out{self.runs}"

    def command(self, *arguments):
        """The command line of the tool."""
        return [sys.executable, str(SCRIPTS / self.tool), *map(str, arguments)]

    def run_tool(self, *arguments, **options):
        """Runs the tool in the folder and returns the finished process; `options` are subprocess.run()'s."""
        return subprocess.run(self.command(*arguments), cwd=self.folder, env=ENVIRONMENT, capture_output=True,
                              text=True, check=False, **options)

    def assert_refused(self, done, words, text):
        """Checks that the tool failed without a traceback, and that these words are in the text."""
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        for word in words:
            self.assertIn(word, text)
