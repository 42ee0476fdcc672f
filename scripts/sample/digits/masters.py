#!/usr/bin/python3
"""Shows why training keeps float weights: compares it with a training that overwrites weights by quantised values.

Takes the output folder of a finished scripts/finetune.py and trains its quantised net twice from the fillers' weights,
at a learning rate so small that most steps are smaller than a code. Prints the training loss, the test figures, and the
share of weights whose code has changed. PYTHONPATH must name a patched Caffe's python folder.
Usage: masters.py OUT [--base-lr 0.0005] [--iterations 400]
"""

import argparse
import ctypes
import json
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("GLOG_minloglevel", "2")

import numpy as np  # noqa: E402

import caffe  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import gfpq  # noqa: E402
from quantkit import evaluation, model  # noqa: E402
from quantkit.nnie import WEIGHTED  # noqa: E402
from quantkit.training import solver  # noqa: E402


def bits_of_weights(net):
    """The width of the quantised weights by layer name."""
    return {layer.name: layer.quant_param.quant_bits if layer.HasField("quant_param") else
            net.weight_quant_param.quant_bits for layer in net.layer if layer.type in WEIGHTED}


def train(library, param, bits, iterations, seed, overwrite):
    """Trains once. Returns the mean loss over the last tenth, the figures, these as text, and the share of new codes.

    With `overwrite`, the weights are replaced by their quantised values before each iteration.
    """
    with tempfile.TemporaryDirectory() as folder:
        param.snapshot_prefix = f"{folder}/snapshot"
        model.write_text(f"{folder}/solver.prototxt", param)
        ctypes.CDLL(None).srand(seed)
        built = caffe.get_solver(f"{folder}/solver.prototxt")
    quantise = lambda name: library.quantise(built.net.params[name][0].data, bits[name])[0]  # noqa: E731

    first = {name: quantise(name) for name in bits}
    losses = []
    for _ in range(iterations):
        if overwrite:
            for name in bits:
                built.net.params[name][0].data[...] = quantise(name)
        built.step(1)
        losses.append(evaluation.loss_of(built.net))

    for net in built.test_nets:
        net.share_with(built.net)
    changed = sum(int((quantise(name) != first[name]).sum()) for name in bits)
    figures = evaluation.evaluate(built.test_nets, param.test_iter)
    shown = [f"{output.label} {output.show(value)}"
             for output, value in zip(evaluation.outputs(built.test_nets), figures)]
    return (float(np.mean(losses[-max(1, iterations // 10):])), figures, shown,
            changed / sum(array.size for array in first.values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=pathlib.Path, help="the output folder of a finished finetune.py")
    parser.add_argument("--base-lr", type=float, default=0.0005)
    parser.add_argument("--iterations", type=int, default=400)
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    settings = json.loads((out / "run.json").read_text())
    os.chdir(settings["folder"])
    caffe.set_mode_cpu()
    library = gfpq.Library(pathlib.Path(caffe.__file__).resolve().parents[2] / "GFPQLibs/lib/libgfpq.so.1")
    whole = solver.Solver(caffe, out / "solver.prototxt")
    whole.param.base_lr, whole.param.lr_policy = arguments.base_lr, "fixed"
    bits = bits_of_weights(next(whole.nets()))

    results = {}
    for name, overwrite in (("float masters", False), ("overwritten", True)):
        loss, figures, shown, changed = train(library, whole.param, bits, arguments.iterations,
                                              settings["seed"], overwrite)
        results[name] = {"training_loss": loss, "figures": figures, "changed": changed}
        print(f"{name:<14} training loss {loss:.4f}, {', '.join(shown)}, "
              f"the code of {100 * changed:.2f}% of the weights has changed", flush=True)
    return results


if __name__ == "__main__":
    main()
