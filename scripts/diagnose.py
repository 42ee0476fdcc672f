#!/usr/bin/python3
"""Reports where a network loses accuracy on the NNIE: in which layers, why, and what 16 bits would improve.

    diagnose.py train_val.prototxt model.caffemodel -o OUT [--caffe ~/caffe]
    diagnose.py deploy.prototxt model.caffemodel --data images.npy -o OUT

The net may be the float one or one with Quant layers; a retrained model contains its ranges. The data come from the
net's own data layers in phase TEST; run the tool in the folder where `caffe test` finds them. For a net with Input
layers they come from an .npy, .npz or HDF5 file with an array of the net's shape, preprocessed for the net. The results
are written to OUT/report.html, which needs no other file, and OUT/report.json.
"""

import argparse
import pathlib
import sys

import gfpq as quantiser
from tqdm import tqdm

from quantkit import caffe_tree, child_process, model, quantised_net
from quantkit.child_process import Problem


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n", 2)[2],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", type=pathlib.Path, help="the net's prototxt")
    parser.add_argument("weights", type=pathlib.Path, help="its caffemodel")
    parser.add_argument("-o", "--out", type=pathlib.Path, required=True, help="folder for the report")
    parser.add_argument("--data", type=pathlib.Path, metavar="FILE", help="input for a net with Input layers")
    parser.add_argument("--batches", type=int, metavar="N",
                        help="number of batches to use (default: 4, or enough for 64 samples)")
    parser.add_argument("--output", metavar="BLOB",
                        help="the blob whose error is measured (default: the one read by the Accuracy or loss layer)")
    parser.add_argument("--solver", type=pathlib.Path, help="also check the training that this solver would do")
    parser.add_argument("--bits", type=int, choices=(8, 16),
                        help="for a float net: width of the NNIE's numbers (default: 8)")
    parser.add_argument("--sixteen", action="append", default=[], metavar="GLOB",
                        help="for a float net: layers to compute in 16 bit")
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB",
                        help="for a float net: layers to keep in float")
    caffe_tree.add_arguments(parser)
    arguments = parser.parse_args()
    if arguments.batches is not None and arguments.batches < 1:
        parser.error("--batches must be at least 1")
    return arguments


def read_arrays(path):
    """The arrays of an .npy, .npz or HDF5 file by name."""
    import h5py
    import numpy as np

    try:
        if path.suffix in (".npy", ".npz"):
            loaded = np.load(path)
            return {"": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
        with h5py.File(path, "r") as file:
            return {name: values[...] for name, values in file.items() if isinstance(values, h5py.Dataset)}
    except (OSError, ValueError) as error:
        raise Problem(f"{path}: {error}") from None


def net_with_quant_layers(caffe, gfpq, arguments):
    """Returns the NetParameter with Quant layers and its file: the user's file, or one made from it in OUT."""
    pb2 = caffe.proto.caffe_pb2
    net = model.read_text(arguments.net, pb2.NetParameter())
    if not net.layer:
        raise Problem(f"{arguments.net}: no layers in this file" + (
            " but those of Caffe's old form: run upgrade_net_proto_text on it" if net.layers else ""))
    options = [f"--bits={arguments.bits}"] if arguments.bits else []
    options += [f"--{name}={glob}" for name in ("sixteen", "exclude") for glob in getattr(arguments, name)]
    file = arguments.net
    if any(layer.type == "Quant" for layer in net.layer):
        if options:
            raise Problem(f"{arguments.net} has Quant layers: {options[0].split('=')[0]} is for float nets")
    else:
        file = arguments.out / "quantised.prototxt"
        quantised_net.quantise(caffe, gfpq, arguments.net, file, options)
        model.read_text(file, net := pb2.NetParameter())
    if not net.HasField("weight_quant_param"):
        # The net was trained with float weights, but the NNIE will quantise them.
        net.weight_quant_param.quant_bits = next(l.quant_param.quant_bits for l in net.layer if l.type == "Quant")
    return net, file


def library_of(caffe):
    """The quantiser library that this Caffe uses."""
    root = pathlib.Path(caffe.__file__).resolve().parents[2]
    for folder in ("GFPQLibs/lib", "build/lib"):
        for name in ("libgfpq.so.1", "libgfpq_gpu.so.1"):
            if (root / folder / name).exists():
                return quantiser.Library(root / folder / name)
    raise Problem(f"{root} has no GFPQLibs/lib/libgfpq.so.1: run `gfpq patch apply {root}`")


def work(arguments):
    """Makes the diagnosis, in the child process; returns the exit code."""
    caffe = caffe_tree.load_caffe(arguments.caffe, arguments.gpu)
    from quantkit.diagnosis import checks, features, report, sensitivity
    from quantkit.diagnosis.variants import Subject

    gfpq = caffe_tree.find_gfpq(arguments.gfpq)
    scratch = arguments.out.resolve() / "work"
    scratch.mkdir(parents=True, exist_ok=True)

    weights = model.Model(caffe, arguments.weights)
    net, file = net_with_quant_layers(caffe, gfpq, arguments)
    findings = checks.check_net(gfpq, file) + checks.check_frozen(net) + checks.check_model(weights, net)
    findings += checks.check_folding(net, arguments.net)
    if any(finding.level == "error" for finding in findings):
        for finding in findings:
            print(f"{finding.level}: {finding.text}", file=sys.stderr)
        raise Problem(f"{arguments.net} with {arguments.weights} has the errors above: correct them first")

    subject = Subject(caffe, net, arguments.weights.resolve(), scratch)
    subject.read_batches(read_arrays(arguments.data) if arguments.data else {}, arguments.batches)
    weights.check(subject.caffe.Net(str(scratch / "data.prototxt"), caffe.TEST), arguments.net)
    stored = {name: model.blob_array(blobs[0]) for name, blobs in weights.blobs.items()
              if blobs and model.blob_shape(blobs[0])[1:] == (2,) and name in {q for q, _ in subject.origin.values()}}
    found = subject.find_ranges(stored)
    output = arguments.output or subject.default_output()
    if output not in {top for layer in subject.net.layer for top in layer.top}:
        raise Problem(f"--output: {arguments.net} has no blob {output!r} in TEST")

    units = len(subject.units)
    steps = 2 * units + len(subject.batches) + len(sensitivity.TRIED) + 3
    steps += checks.STEPS_TRIED if arguments.solver else 0
    with tqdm(total=steps, desc="diagnosing", file=sys.stderr, mininterval=0.2 if sys.stderr.isatty() else 10) as bar:
        layers = features.compare(subject, library_of(caffe), bar.update)
        findings += checks.check_filters(layers)
        judge = sensitivity.Judge(subject, output)
        modes = sensitivity.modes(judge)
        bar.update(3)
        ranked = sensitivity.rank(judge, lambda: bar.update(2))
        tried = sensitivity.sixteen_bits(judge, ranked, bar.update)
        if arguments.solver:
            findings += checks.check_training(caffe, arguments.solver, weights, scratch, bar.update)
        bar.update(bar.total - bar.n)

    if not arguments.solver:
        findings.append(checks.Finding("note", "no --solver given: the training was not checked"))
    if not any(finding.level in ("warning", "error") for finding in findings):
        findings.insert(0, checks.Finding("ok", "no faults found in the net and the model"))

    about = {
        "net": str(arguments.net), "weights": str(arguments.weights), "samples": subject.samples,
        "batches": len(subject.batches),
        "ranges": "The ranges come with the model." if not found else
                  f"{found} of {len(subject.origin)} ranges were measured on these samples.",
    }
    diagnosis = report.Diagnosis(subject, judge, modes, layers, ranked, tried,
                                 sensitivity.advise(judge, modes["data and weights"], tried, ranked), findings, about)
    report.write(diagnosis, arguments.out)
    print("\n".join(diagnosis.lines()))
    print(f"The report is {arguments.out / 'report.html'}")
    return 0


def main():
    arguments = parse_arguments()
    sys.exit(child_process.run(lambda: work(arguments), arguments.out / "caffe.log"))


if __name__ == "__main__":
    main()
