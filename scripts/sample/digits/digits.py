#!/usr/bin/python3
"""Trains example networks on scikit-learn's handwritten digits and follows them through quantisation and retraining.

Each seed means another split of the data and another initialisation. For each example and seed, the example's solver
trains in float, and then scripts/finetune.py retrains in 8 and in 16 bits. Prints a table of accuracies and writes
OUT/report.json. The results of a finished seed are kept, so a second run computes only the missing ones.
"""

import argparse
import ctypes
import json
import os
import pathlib
import shutil
import subprocess
import sys

os.environ.setdefault("GLOG_minloglevel", "2")

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402
from tqdm import tqdm  # noqa: E402

import caffe  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
CAFFE = pathlib.Path(caffe.__file__).resolve().parents[2]
FINETUNE = HERE.parents[1] / "finetune.py"
# The number of the 1797 images that are the test set.
TEST_IMAGES = 600
BITS = (8, 16)
EXAMPLES = ("lenet", "residual", "depthwise", "motion")
# Examples whose BatchNorm is folded before quantisation; the folded net has its own solver.
FOLDED = ("motion",)
# More options for finetune.py: this net loses most of its accuracy, and needs more training. Chosen on seeds 11 to 15.
OPTIONS = {"motion": ["--base-lr", "0.03", "--iterations", "800"]}
# The standard deviation of the difference between two frames of a still scene, relative to the sensor's full scale.
SENSOR_NOISE = 0.001


def images_of(example, seed):
    """The images (N, channels, 8, 8) and labels of the digits for an example."""
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, np.newaxis]
    if example == "motion":
        difference = SENSOR_NOISE * np.random.default_rng(seed).normal(size=images.shape)
        images = np.concatenate([images, difference.astype(np.float32)], axis=1)
    return images, digits.target.astype(np.float32)


def write_data(example, seed, folder):
    """Splits the digits and writes them as HDF5Data reads them: train.txt and test.txt in the folder."""
    images, labels = images_of(example, seed)
    split = train_test_split(images, labels, test_size=TEST_IMAGES, random_state=seed, stratify=labels)
    for name, data, label in (("train", split[0], split[2]), ("test", split[1], split[3])):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["data"], file["label"] = data, label
        (folder / f"{name}.txt").write_text(f"{name}.h5\n")


def train_float(solver_file, seed, out):
    """Trains as the solver says, in the working folder."""
    seeded = pathlib.Path("seeded_solver.prototxt")
    # This only trains; finetune.py does the tests.
    text = "".join(line for line in open(solver_file) if not line.startswith(("test_iter", "test_interval")))
    seeded.write_text(f"{text}random_seed: {seed}\n")
    ctypes.CDLL(None).srand(seed)  # HDF5Data shuffles with the C library's random numbers.
    solver = caffe.get_solver(str(seeded))
    solver.step(solver.param.max_iter)
    solver.net.save(out)


def run(*command):
    """Runs a program; if it fails, ends with its messages."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"digits.py: {' '.join(map(str, command))} failed in {os.getcwd()}:\n{done.stderr}")


def run_seed(example, seed, gfpq, gpu):
    """Runs one seed in the working folder. Returns its accuracies by (bits, stage); 32 bits stand for float."""
    write_data(example, seed, pathlib.Path())
    for file in HERE.glob(f"{example}_*.prototxt"):
        shutil.copy(file, ".")
    solver, weights = f"{example}_solver.prototxt", "float.caffemodel"
    train_float(solver, seed, weights)
    if example in FOLDED:
        run(gfpq, "model", "fold", "--net", f"{example}_train_test.prototxt", "--weights", weights,
            "--out-net", f"{example}_folded_train_test.prototxt", "--out-weights", "folded.caffemodel")
        solver, weights = f"{example}_folded_solver.prototxt", "folded.caffemodel"

    result = {}
    for bits in BITS:
        options = ["--bits", bits, "--seed", seed, "--caffe", CAFFE, "--gfpq", gfpq, *OPTIONS.get(example, [])]
        if gpu is not None:
            options += ["--gpu", gpu]
        shutil.rmtree(f"bits{bits}", ignore_errors=True)
        run(sys.executable, FINETUNE, solver, weights, "-o", f"bits{bits}", *options)
        for row in json.loads(pathlib.Path(f"bits{bits}/results.json").read_text()):
            result[32 if row["stage"] == "float" else bits, row["stage"]] = row["accuracy"]
    return result


def table(example, results):
    """The table of one example as text; `results` has a list with an accuracy for each seed, by (bits, stage)."""
    lines = [f"{example:<10} {'bits':>4}  {'stage':<10} {'accuracy':>8}  {'spread':>6}  {'lost':>7}  {'error':>6}   "
             "seeds"]
    base = np.array(results[32, "float"])
    for (bits, stage), values in results.items():
        values = np.array(values)
        spread = values.std(ddof=1) if len(values) > 1 else 0.0
        lost = base - values
        error = lost.std(ddof=1) / np.sqrt(len(lost)) if len(values) > 1 else 0.0
        cells = "" if stage == "float" else f"{100 * lost.mean():+6.2f}%  {100 * error:5.2f}%"
        each = " ".join(f"{100 * value:.2f}" for value in values)
        lines.append(f"{'':<10} {bits:>4}  {stage:<10} {100 * values.mean():7.2f}%  {100 * spread:5.2f}%  "
                     f"{cells:<15}   {each}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=pathlib.Path, help="folder to work in")
    parser.add_argument("--gfpq", required=True, help="the program gfpq")
    parser.add_argument("--examples", nargs="+", choices=EXAMPLES, default=EXAMPLES)
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds (default: 5)")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--gpu", type=int, metavar="ID", help="compute on this GPU (default: on the CPU)")
    arguments = parser.parse_args()
    gfpq = os.path.abspath(arguments.gfpq)
    out = arguments.out.resolve()
    if arguments.gpu is None:
        caffe.set_mode_cpu()
    else:
        caffe.set_device(arguments.gpu)
        caffe.set_mode_gpu()

    report = {}
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    work = [(example, seed) for example in arguments.examples for seed in seeds]
    for example, seed in tqdm(work, unit="seed", file=sys.stderr):
        folder = out / example / f"seed{seed}"
        done = folder / "accuracies.json"
        if not done.exists():
            folder.mkdir(parents=True, exist_ok=True)
            os.chdir(folder)
            rows = run_seed(example, seed, gfpq, arguments.gpu)
            done.write_text(json.dumps([[bits, stage, value] for (bits, stage), value in rows.items()]))
        for bits, stage, value in json.loads(done.read_text()):
            report.setdefault(example, {}).setdefault((bits, stage), []).append(value)

    for example, results in report.items():
        print(table(example, results))
    print(f"Means over {len(seeds)} seeds, each with its own split of 1797 digits ({TEST_IMAGES} of them the test "
          "set) and its own initialisation.\nSpread: the standard deviation over the seeds. Lost: the mean difference "
          "to the same seed's float accuracy. Error: the standard error of that mean.")
    rows = [{"example": example, "bits": bits, "stage": stage, "accuracy": values}
            for example, results in report.items() for (bits, stage), values in results.items()]
    (out / "report.json").write_text(json.dumps({"results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
