"""Checks for faults in a net, a model, and the training that a solver would do."""

import json
import math

import numpy as np

from .. import caffe_tree, evaluation, model
from ..nnie import HIGH_PRECISION, WEIGHTED
from ..quantised_net import judges_unfolded
from ..training.solver import Solver, quiet
from .variants import STEPS

# Number of training iterations that check_training() runs, on a copy of the model.
STEPS_TRIED = 10
# A learning rate is too high if half of a layer's weights move by more than CODES_AT_ONCE codes in one iteration. It is
# too low if nine of ten weights would move by less than CODES_IN_ALL codes in the whole training.
CODES_AT_ONCE, CODES_IN_ALL = 0.5, 0.5


class Finding:
    """The result of a check: a text, and its `level`: ok, note, warning or error."""

    def __init__(self, level, text):
        self.level = level
        self.text = text


def check_net(gfpq, file):
    """The findings of `gfpq prototxt check` on a quantised net."""
    # Exit code 1 means that there are errors; the JSON lists them.
    report = json.loads(caffe_tree.call_gfpq(gfpq, "prototxt", "check", file, "--json", accept=(0, 1)))
    # These two faults are warnings only, since the user may want such layers to stay float or have another width.
    level = {found["fault"]: "warning" if found["fault"] in ("unfed", "other-width") else found["severity"]
             for found in report["findings"]}
    return [Finding(level[found["fault"]], f"line {found['line']}, layer {found['layer']}: {found['message']}")
            for found in report["findings"]]


def check_frozen(net):
    """Quant ranges and BatchNorm statistics that the solver would update as if they were weights."""
    findings = []
    for layer in net.layer:
        if layer.type in ("Quant", "BatchNorm") and any(param.lr_mult != 0 for param in layer.param):
            what = "range" if layer.type == "Quant" else "statistics"
            findings.append(Finding("error", f"layer {layer.name}: its {what} would be trained as weights: set "
                                             "lr_mult: 0 decay_mult: 0 in each of its param entries"))
    return findings


def check_folding(net, file):
    """A warning if BatchNorm is not folded: the figures for weights then differ from the chip's."""
    if judges_unfolded(net):
        return [Finding("warning", f"{file} has BatchNorm layers, which the NNIE compiler folds into the weights "
                                   "before it quantises them. The figures for weights here are therefore not the "
                                   "chip's: run `gfpq model fold` on net and model, and diagnose the result")]
    return []


def check_model(weights, net):
    """Values in the model that cannot be right, such as NaN or weights that are all zero."""
    findings = []
    kinds = {layer.name: layer.type for layer in net.layer}
    for name, blobs in weights.blobs.items():
        arrays = [model.blob_array(blob) for blob in blobs]
        if not all(np.isfinite(array).all() for array in arrays):
            findings.append(Finding("error", f"layer {name}: the model holds NaN or infinity"))
        elif kinds.get(name) == "BatchNorm" and len(arrays) > 2 and arrays[2].size == 1 and arrays[2].item() == 0:
            findings.append(Finding("error", f"layer {name}: its BatchNorm statistics were never collected"))
        elif kinds.get(name) in WEIGHTED and not arrays[0].any():
            findings.append(Finding("warning", f"layer {name}: all weights are zero"))
    return findings


def check_filters(layers):
    """Layers in which whole filters become zero; `layers` is the result of features.compare()."""
    return [Finding("warning", f"layer {layer.name}: {layer.silenced} of its {layer.filters} filters become zero "
                               f"altogether in {layer.unit.weight_bits} bits: the filters' magnitudes are octaves "
                               "apart. Rescale them and compensate for it in the next layer, or retrain")
            for layer in layers if layer.silenced]


def check_training(caffe, file, weights, scratch, progress):
    """Runs a few iterations of a solver on a copy of the model, and checks what it updates and how far.

    `file` is the solver's prototxt. Calls progress() after each iteration.
    """
    own = Solver(caffe, file, needs_test=False)
    train = next(own.nets())
    findings = check_frozen(train)
    if not any(layer.type == "Quant" for layer in train.layer):
        findings.append(Finding("warning", f"{file}: its train net has no Quant layers, so training sees float data "
                                           "(finetune.py or gfpq prototxt add-quant adds them)"))
    if not train.HasField("weight_quant_param"):
        findings.append(Finding("warning", f"{file}: its train net has no weight_quant_param, so training sees float "
                                           "weights (gfpq prototxt add-quant --weights)"))
    if any(finding.level == "error" for finding in findings):
        return findings

    # Without test nets, snapshots and output, the solver only trains.
    param = quiet(own.param)
    param.snapshot_prefix = str(scratch / "snapshot")
    del param.test_iter[:], param.test_net[:], param.test_state[:], param.test_net_param[:]
    if param.random_seed < 0:
        param.random_seed = 1
    model.write_text(scratch / "solver.prototxt", param)
    built = caffe.get_solver(str(scratch / "solver.prototxt"))
    weights.check(built.net, file)
    built.net.copy_from(str(weights.path))
    return findings + _try(built, param, train, progress)


def _try(built, param, train, progress):
    """The findings of STEPS_TRIED iterations with the solver `built`.

    A code is the step from one number of the format to the next: a factor of 2^(1/16) in 8 bits, 2^(1/128) in 16.
    """
    findings = []
    net = built.net
    bits = {layer.name: 16 if layer.name.endswith(HIGH_PRECISION) else train.weight_quant_param.quant_bits
            for layer in train.layer if layer.type in WEIGHTED}
    frozen = {layer.name for layer in train.layer if layer.param and layer.param[0].lr_mult == 0}
    # Of each layer, per iteration: by how many codes half of its weights move at most, and nine of ten.
    losses, moved = [], {name: [] for name in net.params if name in bits}
    updated = set()
    for _ in range(STEPS_TRIED):
        net.clear_param_diffs()
        for _ in range(param.iter_size):
            net.forward()
            net.backward()
        losses.append(evaluation.loss_of(net))

        before = {name: [blob.data.copy() for blob in blobs] for name, blobs in net.params.items()}
        built.apply_update()
        for name, blobs in net.params.items():
            kind = net.layer_dict[name].type
            if kind in ("Quant", "BatchNorm"):
                if any(not np.array_equal(old, blob.data) for old, blob in zip(before[name], blobs)):
                    updated.add(name)
            elif name in moved:
                old, new = before[name][0].ravel(), blobs[0].data.ravel()
                some = old != 0
                code = 2.0 ** (1 / STEPS[bits[name]]) - 1
                codes = np.abs(new - old)[some] / np.abs(old)[some] / code
                moved[name].append(np.percentile(codes, (50, 90)) if codes.size else np.zeros(2))
        progress()

    for name in sorted(updated):
        findings.append(Finding("error", f"layer {name}: the solver updates its range or statistics, which only data "
                                         "should set"))
    lost = [name for name, blobs in net.params.items() if not all(np.isfinite(blob.data).all() for blob in blobs)]
    if lost or not all(map(math.isfinite, losses)):
        findings.append(Finding("error", f"after {STEPS_TRIED} iterations {'layer ' + lost[0] if lost else 'the loss'} "
                                         "is not finite: lower base_lr"))
        return findings

    left = max(1, param.max_iter)
    high, low, fixed = [], [], []
    for name, codes in moved.items():
        half, most = np.median(codes, axis=0)
        if name in frozen:
            fixed.append(name)
        elif half > CODES_AT_ONCE:
            high.append((name, half))
        elif most * left < CODES_IN_ALL:
            low.append((name, most * left))

    rate = f"the learning rate {param.base_lr:g}"
    if high:
        name, codes = max(high, key=lambda entry: entry[1])
        findings.append(Finding("warning", f"{rate} is too high for {_list(high)}: half of {name}'s weights move by "
                                           f"more than {codes:.2g} codes in one iteration"))
    if low:
        name, codes = min(low, key=lambda entry: entry[1])
        findings.append(Finding("warning", f"{rate} is too low for {_list(low)}: even if all {left} iterations "
                                           f"moved them in the same direction, nine in ten of {name}'s weights would "
                                           f"move by less than {codes:.2g} codes"))
    if fixed:
        findings.append(Finding("note", f"weights that training does not move: {', '.join(fixed[:8])}"
                                        + (f" and {len(fixed) - 8} more" if len(fixed) > 8 else "")))
    if not high and not low and len(fixed) < len(moved):
        typical = float(np.median([np.median(codes, axis=0)[0] for name, codes in moved.items()
                                   if name not in frozen]))
        findings.append(Finding("ok", f"{rate} suits the step from code to code: in one iteration half of a layer's "
                                      f"weights move by less than {typical:.2g} codes, in {left} iterations by up "
                                      f"to {typical * left:.3g}"))
    return findings


def _list(entries):
    """The names of (name, codes) entries as text, five at most."""
    names = [name for name, _ in entries]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more layers" if len(names) > 5 else "")
