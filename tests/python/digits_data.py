"""Data and a small trained net for the tests of the scripts."""

import os
import pathlib

os.environ.setdefault("GLOG_minloglevel", "2")

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402

import caffe  # noqa: E402

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"
# The tools run in folders of their own.
ENVIRONMENT = {**os.environ, "GFPQ": os.path.abspath(os.environ["GFPQ"]),
               "PYTHONPATH": str(pathlib.Path(caffe.__file__).resolve().parents[1])}


def write_digits(folder):
    """train.txt (1000 digits) and test.txt (192) as HDF5Data reads them; returns the test images and labels."""
    digits = load_digits()
    images, labels = (digits.images / 16).astype(np.float32)[:, np.newaxis], digits.target.astype(np.float32)
    for name, rows in (("train", slice(0, 1000)), ("test", slice(1000, 1192))):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["data"], file["label"] = images[rows], labels[rows]
        (folder / f"{name}.txt").write_text(f"{name}.h5\n")
    return images[1000:1192], labels[1000:1192]


def train(folder, solver, iterations, out):
    """Trains in the folder, and returns the solver."""
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
