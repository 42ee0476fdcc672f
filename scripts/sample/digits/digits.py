"""Trains LeNet on scikit-learn's handwritten digits and follows its accuracy through quantisation and retraining.

For each seed: another split of the data and another initialisation; training in float; then, for 8 and 16 bits, the
accuracy with quantised data, with quantised data and weights, and after retraining with both in the loop. Runs in the
folder OUT, prints a table and writes OUT/report.json.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

os.environ.setdefault("GLOG_minloglevel", "2")

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from google.protobuf import text_format  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402
from tqdm import tqdm  # noqa: E402

import caffe  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
NET = "lenet_train_test.prototxt"
SOLVER = "lenet_solver.prototxt"
TEST_IMAGES = 600
TEST_BATCHES = 6
CALIBRATION_BATCHES = 20
STAGES = ("data-quantised", "quantised", "retrained")


def write_data(seed):
    """Splits the digits and writes them as HDF5Data reads them: train.txt and test.txt in the working folder."""
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, np.newaxis]
    split = train_test_split(images, digits.target.astype(np.float32), test_size=TEST_IMAGES, random_state=seed,
                             stratify=digits.target)
    for name, data, label in (("train", split[0], split[2]), ("test", split[1], split[3])):
        with h5py.File(name + ".h5", "w") as file:
            file["data"], file["label"] = data, label
        pathlib.Path(name + ".txt").write_text(name + ".h5\n")


def solver_for(net, seed, base_lr=None, max_iter=None):
    """Writes the sample's solver for a net, with a seed, and loads it."""
    param = caffe.proto.caffe_pb2.SolverParameter()
    text_format.Parse((HERE / SOLVER).read_text(), param)
    param.net, param.random_seed = net, seed
    if base_lr is not None:
        param.base_lr = base_lr
    if max_iter is not None:
        param.max_iter = max_iter
    pathlib.Path("solver.prototxt").write_text(text_format.MessageToString(param))
    return caffe.get_solver("solver.prototxt"), param.max_iter


def train(solver, iterations, progress):
    for _ in range(iterations // 10):
        solver.step(10)
        progress.update(10)


def accuracy(net_file, weights):
    net = caffe.Net(net_file, weights, caffe.TEST)
    # float(): forward() returns the net's own array, which the next batch overwrites.
    return float(np.mean([float(net.forward()["accuracy"]) for _ in range(TEST_BATCHES)]))


def calibrate(net_file, weights, out):
    """Lets the Quant layers see data in TRAIN, which sets their ranges and changes nothing else."""
    caffe.set_random_seed(0)
    net = caffe.Net(net_file, weights, caffe.TRAIN)
    for _ in range(CALIBRATION_BATCHES):
        net.forward()
    net.save(out)


def add_quant(gfpq, bits, weights):
    out = f"lenet_{'quant' if weights else 'dataquant'}{bits}.prototxt"
    command = [gfpq, "prototxt", "add-quant", NET, "-o", out, "--bits", str(bits)] + ["--weights"] * weights
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return out


def run_seed(seed, gfpq, retrain_iterations, progress):
    """One seed's accuracies by (bits, stage)."""
    write_data(seed)
    shutil.copy(HERE / NET, NET)
    result = {}
    progress.set_description(f"seed {seed} float")
    solver, iterations = solver_for(NET, seed)
    train(solver, iterations, progress)
    solver.net.save("float.caffemodel")
    result[32, "float"] = accuracy(NET, "float.caffemodel")
    for bits in (8, 16):
        data_only, both = add_quant(gfpq, bits, False), add_quant(gfpq, bits, True)
        for stage, net_file in ((STAGES[0], data_only), (STAGES[1], both)):
            calibrate(net_file, "float.caffemodel", f"calibrated{bits}.caffemodel")
            result[bits, stage] = accuracy(net_file, f"calibrated{bits}.caffemodel")
        progress.set_description(f"seed {seed} {bits} bit")
        solver, iterations = solver_for(both, seed, base_lr=0.001, max_iter=retrain_iterations)
        solver.net.copy_from(f"calibrated{bits}.caffemodel")
        train(solver, iterations, progress)
        solver.net.save(f"retrained{bits}.caffemodel")
        result[bits, STAGES[2]] = accuracy(both, f"retrained{bits}.caffemodel")
    return result


def table(results):
    lines = [f"{'bits':>5}  {'stage':<15} {'accuracy':>8}  {'spread':>7}  {'loss':>7}   each seed"]
    base = np.mean(results[32, "float"])
    for (bits, stage), values in results.items():
        mean, spread = np.mean(values), np.std(values, ddof=1) if len(values) > 1 else 0.0
        loss = "" if stage == "float" else f"{100 * (base - mean):+6.2f}%"
        each = " ".join(f"{100 * value:.2f}" for value in values)
        lines.append(f"{bits:>5}  {stage:<15} {100 * mean:7.2f}%  {100 * spread:6.2f}%  {loss:>7}   {each}")
    lines.append(f"Means over {len(values)} seeds, each with its own split of 1797 digits ({TEST_IMAGES} of them the "
                 "test set) and its own initialisation; spread: standard deviation over the seeds.")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=pathlib.Path, help="folder to work in")
    parser.add_argument("--gfpq", required=True, help="the program gfpq")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--retrain-iterations", type=int, default=500)
    arguments = parser.parse_args()
    gfpq = os.path.abspath(arguments.gfpq)
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.chdir(arguments.out)
    caffe.set_mode_cpu()

    results = {}
    each = 1000 + 2 * arguments.retrain_iterations
    with tqdm(total=arguments.seeds * each, unit="it", file=sys.stderr, mininterval=1) as progress:
        for seed in range(1, arguments.seeds + 1):
            for key, value in run_seed(seed, gfpq, arguments.retrain_iterations, progress).items():
                results.setdefault(key, []).append(value)
    print(table(results))
    report = [{"bits": bits, "stage": stage, "accuracy": values} for (bits, stage), values in results.items()]
    pathlib.Path("report.json").write_text(json.dumps({"results": report}, indent=1) + "\n")


if __name__ == "__main__":
    main()
