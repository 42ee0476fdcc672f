"""Checks that a patched Caffe with quantisation off trains exactly as an unpatched one, bit for bit.

The examples on handwritten digits are trained for some iterations by the unpatched tree, by the patched tree, and by
the patched tree with Quant layers and weight_quant_param that are switched off. The weights and the solver's history
must be the same.
Usage: scripts/checks/same_training.py UNPATCHED PATCHED --gfpq GFPQ
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np

EXAMPLES = ("lenet", "residual", "depthwise")
SAMPLES = pathlib.Path(__file__).resolve().parents[1] / "sample" / "digits"


def train(solver_file, iterations, out):
    """Trains, and writes the weights and the solver's history by name to `out`. Runs in a process for one tree."""
    import ctypes

    import caffe

    caffe.set_mode_cpu()
    ctypes.CDLL(None).srand(1)  # HDF5Data shuffles with the C library's random numbers.
    solver = caffe.get_solver(solver_file)
    solver.step(iterations)
    quants = {name for name in solver.net.params if solver.net.layer_dict[name].type == "Quant"}
    arrays = {f"{name}/{index}": blob.data for name, blobs in solver.net.params.items() if name not in quants
              for index, blob in enumerate(blobs)}
    solver.snapshot()
    state = caffe.proto.caffe_pb2.SolverState()
    state.ParseFromString(pathlib.Path(f"snapshot_iter_{iterations}.solverstate").read_bytes())
    # The ranges of Quant layers have a history too, which is all zero; those entries are left out.
    for index, blob in enumerate(blob for blob in state.history if any(blob.data)):
        arrays[f"history/{index}"] = np.array(blob.data, dtype=np.float32)
    np.savez(out, **arrays)


def run(tree, folder, solver, iterations, out):
    """Trains in a process that loads this tree's Caffe, and returns the arrays by name."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "python"), "GLOG_minloglevel": "2",
                   "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--train", solver, str(iterations), out]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    with np.load(folder / out) as arrays:
        return dict(arrays)


def compare(example, folder, unpatched, patched, gfpq, iterations):
    """Trains one example in all ways. Returns what differs, or None, and the number of values that were compared."""
    for file in SAMPLES.glob(f"{example}_*.prototxt"):
        shutil.copy(file, folder)
    net, solver = f"{example}_train_test.prototxt", folder / f"{example}_solver.prototxt"
    solver.write_text(solver.read_text() + "random_seed: 3\nsnapshot_prefix: 'snapshot'\n")
    subprocess.run([gfpq, "prototxt", "add-quant", folder / net, "--weights", "-o", folder / "off.prototxt"],
                   check=True, capture_output=True)
    quantised = (folder / "off.prototxt").read_text()
    off = quantised.replace("quant_en: 1", "quant_en: 0")
    assert off.count("quant_en: 0") > 2
    (folder / "off.prototxt").write_text(off)
    (folder / "off_solver.prototxt").write_text(solver.read_text().replace(net, "off.prototxt"))

    reference = run(unpatched, folder, solver.name, iterations, "unpatched.npz")
    values = sum(array.size for array in reference.values())
    for name, tried in (("the patched Caffe", solver.name), ("Quant layers switched off", "off_solver.prototxt")):
        arrays = run(patched, folder, tried, iterations, "patched.npz")
        if arrays.keys() != reference.keys():
            return f"{name}: other blobs: {sorted(arrays.keys() ^ reference.keys())[:5]}", values
        for key, array in reference.items():
            if array.tobytes() != arrays[key].tobytes():
                return f"{name}: {key} differs", values

    # With quantisation on, the weights must differ; otherwise this comparison would prove nothing.
    (folder / "off.prototxt").write_text(quantised)
    on = run(patched, folder, "off_solver.prototxt", iterations, "on.npz")
    same = all(np.array_equal(reference[key], on[key]) for key in reference if not key.startswith("history"))
    return ("with quantisation on, nothing differs" if same else None), values


def main():
    if len(sys.argv) == 5 and sys.argv[1] == "--train":
        train(sys.argv[2], int(sys.argv[3]), sys.argv[4])
        return 0
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("unpatched", type=pathlib.Path)
    parser.add_argument("patched", type=pathlib.Path)
    parser.add_argument("--gfpq", required=True, help="the program gfpq")
    parser.add_argument("--iterations", type=int, default=30)
    arguments = parser.parse_args()
    trees, gfpq = [arguments.unpatched.resolve(), arguments.patched.resolve()], os.path.abspath(arguments.gfpq)
    sys.path.insert(0, str(trees[1] / "python"))
    sys.path.insert(0, str(SAMPLES))
    from digits import write_data

    failed = 0
    for example in EXAMPLES:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            write_data(example, 1, folder)
            difference, values = compare(example, folder, *trees, gfpq, arguments.iterations)
        failed += difference is not None
        same = f"the same, {values} values after {arguments.iterations} iterations"
        print(f"{example}: {difference or same}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
