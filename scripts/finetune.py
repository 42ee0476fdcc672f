#!/usr/bin/python3
"""Retrains a network with the NNIE's quantisation in the loop: from a solver and float weights to retrained weights.

    finetune.py solver.prototxt float.caffemodel -o OUT [--caffe ~/caffe]
    finetune.py --resume OUT

The solver is the one that the network was trained with; run the tool in the folder where `caffe train` runs. Your own
files are not changed: the quantised nets and solver, the curves (curves.csv, curves.png), snapshots, results.json and
retrained.caffemodel are written to OUT. Ctrl-C stops the training with a snapshot; --resume continues it, with the same
result, bit for bit, as without the stop.
"""

import argparse
import json
import os
import pathlib
import sys

from tqdm import tqdm

from quantkit import caffe_tree, calibration, child_process, evaluation, model, quantised_net
from quantkit.child_process import Problem
from quantkit.training import loop, snapshots, solver
from quantkit.training.curves import Curves

# The numbers of rows in curves.csv and of tests in a whole training, unless the options say otherwise.
ROWS, TESTS = 200, 20


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n", 2)[2],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("solver", nargs="?", type=pathlib.Path, help="the solver's prototxt, as for `caffe train`")
    parser.add_argument("weights", nargs="?", type=pathlib.Path, help="the float caffemodel")
    parser.add_argument("-o", "--out", type=pathlib.Path, help="a new folder for all results")
    parser.add_argument("--resume", type=pathlib.Path, metavar="OUT", help="continue the training in OUT")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--data-only", action="store_true", help="keep weights in float")
    which.add_argument("--weights-only", action="store_true", help="keep data in float")
    parser.add_argument("--fold", action="store_true",
                        help="quantise weights with the following BatchNorm and Scale folded in, as on the chip")
    parser.add_argument("--freeze-batch-norm", action="store_true",
                        help="keep BatchNorm's statistics fixed in training; more stable with --fold")
    parser.add_argument("--bits", type=int, choices=(8, 16), default=8, help="width of the NNIE's numbers (default: 8)")
    parser.add_argument("--sixteen", action="append", default=[], metavar="GLOB", help="layers to compute in 16 bit")
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="layers to keep in float")
    parser.add_argument("--iterations", type=int, help="length of the training (default: half the solver's max_iter)")
    parser.add_argument("--base-lr", type=float, help="initial learning rate (default: a tenth of the solver's)")
    parser.add_argument("--lr-policy", choices=("linear", "solver"), default="linear",
                        help="decrease linearly to zero, or follow the solver (default: linear)")
    parser.add_argument("--seed", type=int, help="seed of the random numbers (default: the solver's random_seed, or 1)")
    parser.add_argument("--calibration-batches", type=int, default=20, metavar="N",
                        help="number of training batches that set the ranges before training (default: 20)")
    parser.add_argument("--test-interval", type=int, metavar="N",
                        help=f"iterations between tests (default: a {TESTS}th of all)")
    parser.add_argument("--snapshot", type=int, metavar="N",
                        help="iterations between snapshots (default: the test interval)")
    caffe_tree.add_arguments(parser)
    arguments = parser.parse_args()
    if arguments.resume is None and None in (arguments.solver, arguments.weights, arguments.out):
        parser.error("give SOLVER, WEIGHTS and -o OUT, or --resume OUT")
    if arguments.fold and arguments.data_only:
        parser.error("--fold needs quantised weights, but --data-only keeps them in float")
    begun_with = {name: value for name, value in vars(arguments).items()
                  if name not in ("resume", "caffe", "gpu", "gfpq")}
    if arguments.resume is not None and any(value != parser.get_default(name) for name, value in begun_with.items()):
        parser.error("--resume OUT continues with the solver, weights and options that OUT was begun with: give only "
                     "--caffe, --gpu or --gfpq with it")
    return arguments


def write_json(path, data):
    model.write(path, (json.dumps(data, indent=1) + "\n").encode())


class Progress:
    """The progress bar, with the training loss, the test figures and the time left."""

    def __init__(self, total, start, outputs):
        self.outputs = outputs
        every = 0.2 if sys.stderr.isatty() else 10
        self.bar = tqdm(total=total, initial=start, unit="it", mininterval=every, desc="retraining", file=sys.stderr)

    def show(self, iteration, recent, values):
        """Moves the bar to an iteration; `recent` are the latest losses, `values` the figures of the latest test."""
        shown = [f"training loss {sum(recent) / len(recent):.4g}"]
        shown += [f"{output.label} {output.show(value)}" for output, value in zip(self.outputs, values)]
        self.bar.set_postfix_str(", ".join(shown[:4]), refresh=False)
        self.bar.update(iteration - self.bar.n)

    def say(self, text):
        """Prints a message above the bar."""
        self.bar.write(f"finetune.py: {text}", file=sys.stderr)


class Run:
    """A retraining in its folder `out`. `settings` are what run.json holds: options, schedule, seed and results."""

    def __init__(self, caffe, out, settings):
        self.caffe = caffe
        self.out = out
        self.settings = settings
        self.snapshots = snapshots.Snapshots(caffe, out / "snapshots")

    @property
    def calibrated(self):
        """The path of the float model with calibrated ranges."""
        return self.out / "calibrated.caffemodel"

    def warn_of_folding(self, nets):
        """Prints a warning if the figures of these nets are without the folding that the NNIE compiler does."""
        if any(quantised_net.judges_unfolded(net) for net in nets):
            print("finetune.py: the net has BatchNorm, which the NNIE compiler folds into the weights before it "
                  "quantises them, but the figures here are for weights without folding. Train with --fold, or run "
                  "`gfpq model fold` on net and weights first", file=sys.stderr)

    def evaluate(self, nets, weights, note):
        """Returns the figures and their values for a model, always on the same test batches.

        `note` names the model in messages and files.
        """
        print(f"testing: {note}", file=sys.stderr)
        built = [model.build(self.caffe, net, self.out / "nets" / f"test{index}_{note}.prototxt")
                 for index, net in enumerate(nets)]
        for net in built:
            net.copy_from(str(weights))
        iterations = self.settings["test_iter"]
        return evaluation.outputs(built), evaluation.evaluate(built, iterations)

    def prepare(self, arguments, gfpq):
        """Quantises the nets, calibrates the ranges, and tests the net in float and quantised.

        run.json is written last: a folder without it is not prepared completely.
        """
        caffe, out, settings = self.caffe, self.out, self.settings
        user = solver.Solver(caffe, arguments.solver)
        weights = model.Model(caffe, arguments.weights)

        nets = out / "nets"
        nets.mkdir(exist_ok=True)
        _, *tests = user.nets()
        settings["test_iter"] = list(user.param.test_iter)
        for index, net in enumerate(tests):
            weights.check(model.build(caffe, model.float_net(net), nets / f"test{index}_float.prototxt"),
                          arguments.solver)

        options = ["--bits", arguments.bits]
        for name in ("exclude", "sixteen"):
            for glob in getattr(arguments, name):
                options += [f"--{name}", glob]

        def change(source, new):
            quantised_net.quantise(caffe, gfpq, source, new, options, data=not arguments.weights_only,
                                   weights=not arguments.data_only, fold=arguments.fold,
                                   freeze=arguments.freeze_batch_norm)

        param = solver.quiet(user.quantised(change, nets.resolve()))
        iterations = arguments.iterations or max(1, param.max_iter // 2)
        settings["base_lr"] = arguments.base_lr or param.base_lr / 10
        settings["schedule"] = {
            "iterations": iterations,
            "test_interval": arguments.test_interval or max(1, iterations // TESTS),
            "display": max(1, iterations // ROWS),
        }
        settings["schedule"]["snapshot"] = arguments.snapshot or settings["schedule"]["test_interval"]
        param.random_seed = arguments.seed if arguments.seed is not None else max(param.random_seed, 1)
        print(f"learning rate {settings['base_lr']:g}"
              + ("" if arguments.base_lr else f", a tenth of the solver's {param.base_lr:g}")
              + (", falling linearly to zero" if arguments.lr_policy == "linear" else f" ({param.lr_policy})")
              + f"; {iterations} iterations; seed {param.random_seed}", file=sys.stderr)

        param.base_lr = settings["base_lr"]
        param.max_iter = iterations
        if arguments.lr_policy == "linear":
            param.lr_policy, param.power = "poly", 1
        # The solver writes into the folder of self.snapshots, which reads and renames the files.
        param.snapshot_prefix = self.snapshots.prefix
        param.snapshot_format = caffe.proto.caffe_pb2.SolverParameter.BINARYPROTO
        model.write_text(out / "solver.prototxt", param)

        outputs, settings["float"] = self.evaluate([model.float_net(net) for net in tests], arguments.weights, "float")
        if not outputs:
            raise Problem(f"{arguments.solver}: the test nets give no figure: add an Accuracy or loss layer")
        train, *tests = solver.Solver(caffe, out / "solver.prototxt").nets()
        self.warn_of_folding(tests)

        # The train net may have layers that no test net has.
        weights.check(model.build(caffe, train, nets / "train.prototxt"), arguments.solver)

        with tqdm(total=arguments.calibration_batches, unit="batch", desc="calibrating", file=sys.stderr,
                  mininterval=0.2 if sys.stderr.isatty() else 10) as bar:
            calibration.calibrate(caffe, train, arguments.weights, arguments.calibration_batches, self.calibrated,
                                  param.random_seed, bar.update)
        _, settings["quantised"] = self.evaluate(tests, self.calibrated, "quantised")
        settings["seed"] = param.random_seed
        write_json(out / "run.json", settings)

    def train(self):
        """Trains from the last snapshot, or from the calibrated model. Returns whether the end was reached."""
        caffe, settings = self.caffe, self.settings
        schedule = loop.Schedule(**settings["schedule"])
        own = solver.Solver(caffe, self.out / "solver.prototxt")
        calibration.seed_everything(caffe, settings["seed"])
        built = caffe.get_solver(str(self.out / "solver.prototxt"))
        done = (self.snapshots.iterations() or [0])[-1]
        if done:
            self.snapshots.restore(built, done)
        else:
            built.net.copy_from(str(self.calibrated))

        outputs = evaluation.outputs(built.test_nets)
        curves = Curves(self.out / "curves.csv", [output.label for output in outputs], resume_at=done)
        levels = [(name, settings[name]) for name in ("float", "quantised")]
        progress = Progress(schedule.iterations, done, outputs)
        try:
            self.snapshots.reserve(built)
            return loop.train(built, own.param, schedule, self.snapshots, curves, progress,
                                  lambda: curves.draw(self.out / "curves.png", outputs, levels))
        finally:
            progress.bar.close()

    def choose(self, train):
        """Returns the iteration of the snapshot that has the lowest loss on training data.

        Weights between two codes change from one to the other until the end of a quantised training, so the last
        iteration may be a bad one.
        """
        done, batches = self.snapshots.iterations(), self.settings["options"]["calibration_batches"]
        losses = {iteration: calibration.deployed_loss(self.caffe, train, self.snapshots.weights(iteration), batches,
                                                       self.out / "nets" / "train_deployed.prototxt",
                                                       self.settings["seed"]) for iteration in done}
        # Of equal losses, the latest snapshot is taken.
        return min(reversed(done), key=lambda iteration: losses[iteration])

    def finish(self):
        """Writes the retrained model, tests it, and prints the table of results."""
        out, settings = self.out, self.settings
        retrained = out / "retrained.caffemodel"
        train, *tests = solver.Solver(self.caffe, out / "solver.prototxt").nets()
        chosen = self.choose(train)
        print(f"of the last {len(self.snapshots.iterations())} snapshots, that of iteration {chosen} has the lowest "
              "loss on training data", file=sys.stderr)
        self.snapshots.save_weights(chosen, retrained)
        outputs, settings["retrained"] = self.evaluate(tests, retrained, "retrained")
        results = [{"stage": stage, **{output.label: value for output, value in zip(outputs, settings[stage])}}
                   for stage in ("float", "quantised", "retrained")]
        write_json(out / "results.json", results)

        width = max(24, *(len(output.label) + 2 for output in outputs))
        print(f"{'':<10}" + "".join(f"{output.label:>{width}}" for output in outputs))
        for stage in ("float", "quantised", "retrained"):
            cells = []
            for output, base, value in zip(outputs, settings["float"], settings[stage]):
                lost = "" if stage == "float" else f" ({output.lost(base, value)})"
                cells.append(f"{output.show(value)}{lost}".rjust(width))
            print(f"{stage:<10}" + "".join(cells))
        self.warn_of_folding(tests)
        print(f"In brackets: the loss against float. The retrained model is {retrained}; its nets are "
              f"in {out / 'nets'}.")


def begin(arguments):
    """Prepares a new Run."""
    out = arguments.out.resolve()
    if (out / "run.json").exists():
        raise Problem(f"{out} contains a training: continue it with --resume {arguments.out}, or give another -o")
    caffe = caffe_tree.load_caffe(arguments.caffe, arguments.gpu)
    gfpq = caffe_tree.find_gfpq(arguments.gfpq)
    run = Run(caffe, out, {"folder": os.getcwd(), "out": str(out), "options": {
        name: str(value) if isinstance(value, pathlib.Path) else value for name, value in vars(arguments).items()}})
    run.prepare(arguments, gfpq)
    return run


def resume(arguments):
    """The Run in the folder of --resume."""
    out = arguments.resume.resolve()
    try:
        settings = json.loads((out / "run.json").read_text())
    except OSError:
        raise Problem(f"{out} has no training to continue: there is no run.json, which is written when a training is "
                      "prepared completely") from None
    except ValueError:
        raise Problem(f"{out}/run.json is damaged") from None

    if not os.path.isdir(settings["folder"]):
        raise Problem(f"the folder {settings['folder']}, where this training was begun, does not exist any more")

    given = settings["options"]
    root = arguments.caffe or given["caffe"] and pathlib.Path(settings["folder"], given["caffe"])
    caffe = caffe_tree.load_caffe(root, given["gpu"] if arguments.gpu is None else arguments.gpu)
    # The data sources in the nets are relative to this folder.
    os.chdir(settings["folder"])
    if settings["out"] != str(out):
        param = model.read_text(out / "solver.prototxt", caffe.proto.caffe_pb2.SolverParameter())
        model.write_text(out / "solver.prototxt", solver.moved(param, settings["out"], out))
        settings["out"] = str(out)
        write_json(out / "run.json", settings)
    return Run(caffe, out, settings)


def work(arguments):
    """Retrains, in the child process; returns the exit code."""
    run = begin(arguments) if arguments.resume is None else resume(arguments)
    if not run.train():
        done = (run.snapshots.iterations() or [0])[-1]
        print(f"finetune.py: interrupted, with a snapshot at iteration {done}. Continue with: "
              f"{sys.argv[0]} --resume {run.out}", file=sys.stderr)
        return child_process.INTERRUPTED
    run.finish()
    return 0


def main():
    arguments = parse_arguments()
    out = arguments.out or arguments.resume
    if arguments.resume is not None and not out.is_dir():
        sys.exit(f"finetune.py: {out} is not a folder")
    sys.exit(child_process.run(lambda: work(arguments), out / "caffe.log"))


if __name__ == "__main__":
    main()
