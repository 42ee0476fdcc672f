#!/usr/bin/python3
"""Checks `gfpq prototxt` on every *.prototxt of a Caffe tree, with Google's text_format and the tree's own caffe.proto.
Folders after that tree are checked too, with the same caffe.proto.

For each file x without Quant layers, byte for byte: strip-quant does not change it, strip(add(x)) == x, and
add(add(x)) == add(x). As protobuf reads it, add(x) is x with exactly the Quant layers and the wiring that the NNIE
needs, in every phase, level and stage that the file's rules distinguish, also with --bits, --sixteen and --exclude. A
layer that is both in a training file and in a deploy file of a folder reads Quant layers of the same names in both.
This is an independent check: it shares no code with the program.

    scripts/checks/prototxt_trees.py [--gfpq PROGRAM] [--verbose] CAFFE_ROOT...

Needs protoc and python3-protobuf. Exits with 1 if a check failed.
"""

import argparse
import collections
import fnmatch
import importlib.util
import itertools
import json
import pathlib
import re
import subprocess
import sys
import tempfile

from google.protobuf import text_format

from wiring import caffe_takes, states_of, wired

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from quantkit.net_rules import State, included  # noqa: E402
from quantkit.nnie import COMPUTED, HIGH_PRECISION  # noqa: E402

# The names of these types in `layers` messages, the old form of a net.
OLD_COMPUTED = {"CONVOLUTION", "DECONVOLUTION", "POOLING", "INNER_PRODUCT"}


class Wrong(Exception):
    """A check failed; the text says how."""


def expect(condition, message):
    """Raises Wrong with the message unless the condition is true."""
    if not condition:
        raise Wrong(message)


def has_proto(root):
    return (root / "src/caffe/proto/caffe.proto").exists()


def compile_proto(root, folder):
    """Compiles the tree's caffe.proto to a Python module. Adds the patch's message and fields if they are missing."""
    proto = (root / "src/caffe/proto/caffe.proto").read_text(encoding="utf-8", errors="replace")
    if "QuantParameter" not in proto:
        # The field numbers are far above those that any fork uses.
        for message, field in (("LayerParameter", "quant_param"), ("NetParameter", "weight_quant_param")):
            proto, count = re.subn(r"(?m)^(message %s\s*\{)" % message,
                                   r"\1\n  optional QuantParameter %s = 190001;" % field, proto)
            expect(count == 1, f"no message {message} in caffe.proto")
        proto += ("\nmessage QuantParameter {\n  optional uint32 quant_bits = 1 [default = 8];\n"
                  "  optional bool quant_en = 2 [default = true];\n}\n")
    (folder / "caffe.proto").write_text(proto, encoding="utf-8")
    subprocess.run(["protoc", f"-I{folder}", f"--python_out={folder}", str(folder / "caffe.proto")], check=True,
                   stderr=subprocess.DEVNULL)
    spec = importlib.util.spec_from_file_location("caffe_pb2", folder / "caffe_pb2.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(program, *arguments, source):
    """Runs `gfpq prototxt` with `source` as its input. Returns exit code, standard output and standard error."""
    done = subprocess.run([program, "prototxt", *arguments, "-"], input=source, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


def rewritten(program, command, source, *flags):
    """The output of a command that must succeed."""
    code, out, err = run(program, command, *flags, source=source)
    expect(code == 0, f"{command}: exit {code}: {err.strip()}")
    return out


def nets_of(pb, source):
    """Parses a file with protobuf, as a net or as a solver. Returns the message, and the list of nets in it."""
    text = source.decode("utf-8-sig", errors="replace")
    reasons = []
    # The last try ignores fields that this tree's Caffe does not have, since no check needs them.
    for message, lenient in ((pb.NetParameter(), False), (pb.SolverParameter(), False), (pb.NetParameter(), True)):
        try:
            text_format.Parse(text, message, allow_unknown_field=lenient, allow_unknown_extension=lenient)
        except text_format.ParseError as error:
            reasons.append(str(error))
            continue
        if isinstance(message, pb.NetParameter):
            return message, [message]
        held = [message.net_param] if message.HasField("net_param") else []
        held += [message.train_net_param] if message.HasField("train_net_param") else []
        return message, held + list(message.test_net_param)
    raise text_format.ParseError(" / ".join(reasons))


class Selection(collections.namedtuple("Selection", "bits sixteen exclude", defaults=(8, "", ""))):
    """The options of add-quant that a check uses; `sixteen` and `exclude` are globs, or empty."""

    def flags(self):
        """The options for the command line."""
        return ["--bits", str(self.bits), *(["--sixteen", self.sixteen] if self.sixteen else []),
                *(["--exclude", self.exclude] if self.exclude else [])]

    def width(self, layer):
        """The width that the layer must get in bits, or None if it must stay unchanged."""
        def matches(glob):
            return glob and fnmatch.fnmatchcase(layer.name, glob)
        if layer.type not in COMPUTED or matches(self.exclude):
            return None
        return 16 if layer.name.endswith(HIGH_PRECISION) or matches(self.sixteen) else self.bits


SELECTIONS = [Selection(), Selection(bits=16), Selection(sixteen="*1*"), Selection(exclude="*2*"),
              Selection(bits=16, sixteen="*a*", exclude="*[13]*")]


def check_net(before, after, selection):
    """Checks that `after` is `before` with exactly the right Quant layers. Returns how many they are.

    Both are NetParameters, before and after add-quant with the options in `selection`.
    """
    expect(not any(layer.type == "Quant" for layer in before.layer), "the original has Quant layers already")
    quants = [number for number, layer in enumerate(after.layer) if layer.type == "Quant"]
    added = set(quants)
    # For each layer of `after`: the index of the same layer in `before`, or for a Quant layer ("quant", index).
    plain = iter(range(len(after.layer)))
    ordinals = [("quant", n) if n in added else next(plain) for n in range(len(after.layer))]
    same_numbers = list(range(len(before.layer)))
    expect(len(after.layer) - len(quants) == len(before.layer), "another layer was added or removed")

    tops = {top for layer in before.layer for top in layer.top} | set(before.input)
    names = {layer.name for layer in before.layer}
    for number in quants:
        layer = after.layer[number]
        expect(len(layer.bottom) == len(layer.top) == 1, f"{layer.name}: has not exactly one bottom and one top")
        expect(layer.name not in names, f"{layer.name}: another layer has this name")
        if layer.top[0] != layer.bottom[0]:
            expect(layer.top[0] not in tops and layer.top[0] == layer.name, f"{layer.name}: wrong top {layer.top[0]}")
        expect(layer.quant_param.quant_bits in (8, 16) and layer.quant_param.quant_en,
               f"{layer.name}: wrong quant_param")
        expect([(p.lr_mult, p.decay_mult) for p in layer.param] == [(0, 0)], f"{layer.name}: wrong param")

    # Without the Quant layers, and with the original bottoms put back, the message must equal the original.
    undone = type(after)()
    undone.CopyFrom(after)
    del undone.layer[:]
    rewired = collections.defaultdict(set)
    for number, layer in enumerate(after.layer):
        if number in added:
            continue
        copy = undone.layer.add()
        copy.CopyFrom(layer)
        old = before.layer[ordinals[number]]
        for i, name in enumerate(layer.bottom):
            if i < len(old.bottom) and name != old.bottom[i]:
                expect(selection.width(layer), f"{layer.name}: a bottom of this {layer.type} was changed")
                rewired[name].add(old.bottom[i])
                copy.bottom[i] = old.bottom[i]
    expect(undone == before, "something was changed besides the Quant layers and bottoms")

    used = set()
    # In a state that Caffe refuses, an in-place layer can divide readers that have one source in the other states. Such
    # a net may need two Quant layers for one source.
    is_sound = all(caffe_takes(before, state) for state in states_of(before))
    for state in states_of(before):
        if not caffe_takes(before, state):
            used |= added
            continue
        expect(caffe_takes(after, state), f"Caffe would refuse the result in {state}")
        floats = {n: sources for n, _, sources in wired(before, state, same_numbers)}
        feeds = {}
        seen_names = set()
        by_source = {}
        readers = collections.defaultdict(list)
        for number, layer, sources in wired(after, state, ordinals):
            where = f"{layer.name} in {state}"
            if number in added:
                expect(layer.name not in seen_names, f"{where}: two Quant layers have this name")
                seen_names.add(layer.name)
                expect(sources[0][0] != "layer" or not isinstance(sources[0][1], tuple),
                       f"{where}: a Quant layer reads another Quant layer")
                feeds[ordinals[number]] = (number, sources[0])
                width = layer.quant_param.quant_bits
                key = (sources[0], width, layer.top[0] == layer.bottom[0])
                expect(key not in by_source or not is_sound, f"{where}: two Quant layers of one width for one source")
                by_source[key] = number
                continue
            original = floats[ordinals[number]]
            for bottom, (source, wanted) in enumerate(zip(sources, original)):
                quantised = source[0] == "layer" and isinstance(source[1], tuple)
                if selection.width(layer):
                    expect(quantised, f"{where}: bottom {bottom} does not come from a Quant layer")
                    quant, behind = feeds[source[1]]
                    expect(behind == wanted, f"{where}: bottom {bottom} is quantised from {behind}, not from {wanted}")
                    width = after.layer[quant].quant_param.quant_bits
                    expect(width == selection.width(layer), f"{where}: the Quant layer has another width")
                    readers[quant].append(number)
                    used.add(quant)
                else:
                    expect(not quantised, f"{where}: a {layer.type} reads a Quant layer")
                    expect(source == wanted, f"{where}: reads {source}, not {wanted}")
        for number in by_source.values():
            expect(readers[number], f"{after.layer[number].name} in {state}: no layer reads it")
    for number in used:
        following = next(n for n in range(number + 1, len(after.layer)) if n not in added)
        reads = list(after.layer[following].bottom)
        expect(after.layer[number].top[0] in reads, f"{after.layer[number].name}: not right before its first reader")
    expect(used == added, "a Quant layer that no layer needs in any state")
    return len(quants)


def inputs_in_test(before, after):
    """For each layer in TEST with a unique name: its type, its bottoms, and its bottoms with Quant layers."""
    state = State(phase=1, level=0, stage=())
    names = collections.Counter(layer.name for layer in before.layer if included(layer, state))
    plain = [layer for layer in after.layer if layer.type != "Quant"]
    return {old.name: (old.type, list(old.bottom), list(new.bottom)) for old, new in zip(before.layer, plain)
            if included(old, state) and names[old.name] == 1}


def check_names(train, deploy):
    """Checks that a layer reads the same Quant layers in training and deployment: ranges are found by their names."""
    for name in train.keys() & deploy.keys():
        (kind, *trained), (_, *deployed) = train[name], deploy[name]
        expect(trained[0] != deployed[0] or trained[1] == deployed[1],
               f"{name} ({kind}) reads {trained[1]} in training, but {deployed[1]} in deployment")


def check_file(program, pb, source):
    """Checks one file. Returns its kind, the number of Quant layers that it got, and the result of inputs_in_test()."""
    code, added, err = run(program, "add-quant", source=source)
    readable = True
    try:
        _, before = nets_of(pb, source)
    except text_format.ParseError as error:
        readable, before, reason = False, [], str(error)
    old = any(layer.type and pb.V1LayerParameter.LayerType.Name(layer.type) in OLD_COMPUTED or layer.HasField("layer")
              for net in before if not net.layer for layer in net.layers)

    if old:
        expect(code == 1 and not added and "upgrade_net_proto_text" in err, f"old layers: exit {code}: {err}")
        expect(rewritten(program, "strip-quant", source) == source, "strip-quant changed a file without Quant layers")
        return "old", 0, {}

    expect(code == 0, f"add-quant: exit {code}: {err.strip()}")
    stripped = rewritten(program, "strip-quant", source)
    expect(stripped == source, "strip-quant changed a file without Quant layers")
    for selection, weights in itertools.product(SELECTIONS, ([], ["--weights"])):
        flags = selection.flags() + weights
        more = rewritten(program, "add-quant", source, *flags)
        expect(rewritten(program, "strip-quant", more) == source,
               f"strip-quant after add-quant {flags} does not give the original")
        expect(rewritten(program, "add-quant", more, *flags) == more, f"a second add-quant {flags} changes the file")
        if readable and not weights:
            _, after = nets_of(pb, more)
            expect(len(before) == len(after), f"the number of nets changed with {flags}")
            for b, a in zip(before, after):
                check_net(b, a, selection)

    if not readable:
        return f"unreadable by protobuf ({reason[:90]})", 0, {}
    _, after = nets_of(pb, added)
    count = sum(check_net(b, a, Selection()) for b, a in zip(before, after))
    if not any(net.layer for net in before):
        expect(added == source, "a file without layers was changed")
        return "no net", 0, {}

    code, report, err = run(program, "check", "--json", source=added)
    findings = json.loads(report)["findings"]
    wrong = {finding["fault"] for finding in findings if finding["severity"] == "error"}
    expect(wrong <= {"missing-blob"} and code == bool(wrong), f"check of the result: exit {code}: {wrong}")
    taken = any(caffe_takes(net, state) for net in before for state in states_of(net))
    inputs = inputs_in_test(before[0], after[0]) if len(before) == 1 else {}
    return "net" if taken else "refused by Caffe", count, inputs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", metavar="CAFFE_ROOT", nargs="+", type=pathlib.Path)
    here = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--gfpq", default=str(here / "target/release/gfpq"), help="the program to check")
    parser.add_argument("--verbose", action="store_true", help="print a line for every file")
    arguments = parser.parse_args()
    if not has_proto(arguments.trees[0]):
        parser.error(f"{arguments.trees[0]} has no src/caffe/proto/caffe.proto")

    counts = collections.Counter()
    for root in arguments.trees:
        if has_proto(root):
            with tempfile.TemporaryDirectory() as folder:
                pb = compile_proto(root, pathlib.Path(folder))
        folders = collections.defaultdict(dict)
        for path in sorted(root.rglob("*.prototxt")):
            counts["files"] += 1
            try:
                kind, quants, folders[path.parent][path] = check_file(arguments.gfpq, pb, path.read_bytes())
            except Wrong as wrong:
                counts["failed"] += 1
                print(f"FAILED {path}: {wrong}")
                continue
            counts[kind.split(" (")[0]] += 1
            counts["quants"] += quants
            if arguments.verbose or kind.startswith(("unreadable", "refused")):
                print(f"{path}: {kind}, {quants} Quant layers")

        for inputs in folders.values():
            trains, deploys = ([path for path in inputs if word in path.stem] for word in ("train", "deploy"))
            for train, deploy in itertools.product(trains, deploys):
                counts["pairs"] += 1
                try:
                    check_names(inputs[train], inputs[deploy])
                except Wrong as wrong:
                    counts["failed"] += 1
                    print(f"FAILED {train} and {deploy.name}: {wrong}")
    print(f"{counts['files']} files: {counts['net']} nets with {counts['quants']} Quant layers, "
          f"{counts['no net']} files without a net, {counts['old']} nets in the old form, which add-quant refuses, "
          f"{counts['refused by Caffe']} nets whose wiring Caffe refuses, {counts['unreadable by protobuf']} files "
          f"that protobuf cannot read. {counts['pairs']} pairs of training and deployment were compared. "
          f"{counts['failed']} checks failed.")
    return 1 if counts["failed"] or not counts["files"] else 0


if __name__ == "__main__":
    sys.exit(main())
