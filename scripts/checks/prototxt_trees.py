#!/usr/bin/python3
"""Judges `gfpq prototxt` on every *.prototxt of a Caffe tree, with Google's text_format and the tree's own caffe.proto;
and on those of any folder after it, with the same caffe.proto.

For each file: it is a document (strip-quant leaves it as it is when it has no Quant layer), strip(add(x)) == x and
add(add(x)) == add(x), byte for byte; and, read by protobuf, add(x) is x with exactly the Quant layers and the wiring
that the NNIE needs, in every phase and stage that the file's rules tell apart; so it is with --bits, --sixteen and
--exclude. A layer that a training file and a deploy file of one folder both have reads Quant layers of the same names.
Nothing here is shared with the program.

    prototxt_trees.py [--gfpq PROGRAM] [--verbose] CAFFE_ROOT...

Needs protoc and python3-protobuf. Exits 1 when anything is not as it should be.
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

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from quantkit.nnie import COMPUTED, HIGH_PRECISION  # noqa: E402

# Names of these types in Caffe's old `layers` messages.
OLD_COMPUTED = {"CONVOLUTION", "DECONVOLUTION", "POOLING", "INNER_PRODUCT"}


class Wrong(Exception):
    """Something is not as it should be."""


def expect(condition, message):
    if not condition:
        raise Wrong(message)


def has_proto(root):
    return (root / "src/caffe/proto/caffe.proto").exists()


def compile_proto(root, folder):
    """The tree's caffe.proto as a Python module, with what the patch adds to it."""
    proto = (root / "src/caffe/proto/caffe.proto").read_text(encoding="utf-8", errors="replace")
    if "QuantParameter" not in proto:
        # Numbers far above any that a fork has given out.
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
    """The program's exit code, standard output and standard error."""
    done = subprocess.run([program, "prototxt", *arguments, "-"], input=source, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


def rewritten(program, command, source, *flags):
    code, out, err = run(program, command, *flags, source=source)
    expect(code == 0, f"{command}: exit {code}: {err.strip()}")
    return out


def nets_of(pb, source):
    """The file as protobuf reads it: its message, and the nets in it."""
    text = source.decode("utf-8-sig", errors="replace")
    reasons = []
    # Fields that this tree's Caffe does not know are passed over: nothing here turns on them.
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


def states_of(net):
    """One state of each kind that the net's rules tell apart: phase, level, stages."""
    rules = [rule for layer in net.layer for rule in itertools.chain(layer.include, layer.exclude)]
    stages = sorted({stage for rule in rules for stage in itertools.chain(rule.stage, rule.not_stage)})
    levels = {0}
    for rule in rules:
        if rule.HasField("min_level"):
            levels |= {rule.min_level, rule.min_level - 1}
        if rule.HasField("max_level"):
            levels |= {rule.max_level, rule.max_level + 1}
    chosen = itertools.chain.from_iterable(itertools.combinations(stages, n) for n in range(len(stages) + 1))
    return list(itertools.product((0, 1), sorted(levels), itertools.islice(chosen, 256)))


def meets(rule, state):
    phase, level, stages = state
    if rule.HasField("phase") and rule.phase != phase:
        return False
    if rule.HasField("min_level") and level < rule.min_level:
        return False
    if rule.HasField("max_level") and level > rule.max_level:
        return False
    return all(s in stages for s in rule.stage) and not any(s in stages for s in rule.not_stage)


def active(layer, state):
    if layer.include:
        return any(meets(rule, state) for rule in layer.include)
    return not any(meets(rule, state) for rule in layer.exclude)


def wired(net, state, ordinals):
    """For each layer active in the state: its number, and what made each bottom (kind of maker, number, top)."""
    current = {name: ("input", i, 0) for i, name in enumerate(net.input)}
    for number, layer in enumerate(net.layer):
        if not active(layer, state):
            continue
        sources = [current.get(name, ("nothing", name, 0)) for name in layer.bottom]
        yield number, layer, sources
        for top, name in enumerate(layer.top):
            current[name] = ("layer", ordinals[number], top)


def caffe_takes(net, state):
    """Whether Net::Init would take the net's wiring in this state."""
    current = {name: ("input", i, 0) for i, name in enumerate(net.input)}
    readers = collections.Counter()
    in_place = []
    ever = set(current)
    for number, layer in enumerate(net.layer):
        if not active(layer, state):
            continue
        if any(name not in current for name in layer.bottom):
            return False
        readers.update(current[name] for name in layer.bottom)
        for top, name in enumerate(layer.top):
            if top < len(layer.bottom) and layer.bottom[top] == name:
                in_place.append(current[name])
            elif name in ever:
                return False
        for top, name in enumerate(layer.top):
            current[name] = ("layer", number, top)
            ever.add(name)
    # A blob read twice is split, and its parts have other names: nothing writes over it in place then.
    return all(readers[source] == 1 for source in in_place)


class Selection(collections.namedtuple("Selection", "bits sixteen exclude", defaults=(8, "", ""))):
    """What add-quant is told."""

    def flags(self):
        return ["--bits", str(self.bits), *(["--sixteen", self.sixteen] if self.sixteen else []),
                *(["--exclude", self.exclude] if self.exclude else [])]

    def width(self, layer):
        """The layer's width, None for one to be left alone."""
        def matches(glob):
            return glob and fnmatch.fnmatchcase(layer.name, glob)
        if layer.type not in COMPUTED or matches(self.exclude):
            return None
        return 16 if layer.name.endswith(HIGH_PRECISION) or matches(self.sixteen) else self.bits


SELECTIONS = [Selection(), Selection(bits=16), Selection(sixteen="*1*"), Selection(exclude="*2*"),
              Selection(bits=16, sixteen="*a*", exclude="*[13]*")]


def check_net(before, after, selection):
    """`after` is `before` with exactly the Quant layers that belong there; how many they are."""
    expect(not any(layer.type == "Quant" for layer in before.layer), "has Quant layers of its own")
    quants = [number for number, layer in enumerate(after.layer) if layer.type == "Quant"]
    added = set(quants)
    # Layers of `after` by their number in `before`; Quant layers by a number of their own.
    plain = iter(range(len(after.layer)))
    ordinals = [("quant", n) if n in added else next(plain) for n in range(len(after.layer))]
    same_numbers = list(range(len(before.layer)))
    expect(len(after.layer) - len(quants) == len(before.layer), "a layer came or went")

    tops = {top for layer in before.layer for top in layer.top} | set(before.input)
    names = {layer.name for layer in before.layer}
    for number in quants:
        layer = after.layer[number]
        expect(len(layer.bottom) == len(layer.top) == 1, f"{layer.name}: not one bottom and one top")
        expect(layer.name not in names, f"{layer.name}: a name taken")
        if layer.top[0] != layer.bottom[0]:
            expect(layer.top[0] not in tops and layer.top[0] == layer.name, f"{layer.name}: top {layer.top[0]}")
        expect(layer.quant_param.quant_bits in (8, 16) and layer.quant_param.quant_en, f"{layer.name}: quant_param")
        expect([(p.lr_mult, p.decay_mult) for p in layer.param] == [(0, 0)], f"{layer.name}: param")

    # Everything else is untouched: undone by hand, the message is the one from before.
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
                expect(selection.width(layer), f"{layer.name}: rewired, a {layer.type}")
                rewired[name].add(old.bottom[i])
                copy.bottom[i] = old.bottom[i]
    expect(undone == before, "something else changed")

    used = set()
    # A layer in place in a state that Caffe refuses can keep apart what is one version in the others.
    is_sound = all(caffe_takes(before, state) for state in states_of(before))
    for state in states_of(before):
        if not caffe_takes(before, state):
            used |= added
            continue
        expect(caffe_takes(after, state), f"Caffe would not take it in {state}")
        floats = {n: sources for n, _, sources in wired(before, state, same_numbers)}
        feeds = {}
        seen_names = set()
        by_version = {}
        readers = collections.defaultdict(list)
        for number, layer, sources in wired(after, state, ordinals):
            where = f"{layer.name} in {state}"
            if number in added:
                expect(layer.name not in seen_names, f"{where}: two Quants of one name")
                seen_names.add(layer.name)
                expect(sources[0][0] != "layer" or not isinstance(sources[0][1], tuple), f"{where}: reads a Quant")
                feeds[ordinals[number]] = (number, sources[0])
                width = layer.quant_param.quant_bits
                key = (sources[0], width, layer.top[0] == layer.bottom[0])
                expect(key not in by_version or not is_sound, f"{where}: two Quants for one version")
                by_version[key] = number
                continue
            original = floats[ordinals[number]]
            for bottom, (source, wanted) in enumerate(zip(sources, original)):
                quantised = source[0] == "layer" and isinstance(source[1], tuple)
                if selection.width(layer):
                    expect(quantised, f"{where}: bottom {bottom} is not fed by a Quant")
                    quant, behind = feeds[source[1]]
                    expect(behind == wanted, f"{where}: bottom {bottom} quantises {behind}, not {wanted}")
                    width = after.layer[quant].quant_param.quant_bits
                    expect(width == selection.width(layer), f"{where}: other width")
                    readers[quant].append(number)
                    used.add(quant)
                else:
                    expect(not quantised, f"{where}: a {layer.type} reads a Quant")
                    expect(source == wanted, f"{where}: reads {source}, not {wanted}")
        for number in by_version.values():
            expect(readers[number], f"{after.layer[number].name} in {state}: feeds nothing")
    for number in used:
        following = next(n for n in range(number + 1, len(after.layer)) if n not in added)
        reads = list(after.layer[following].bottom)
        expect(after.layer[number].top[0] in reads, f"{after.layer[number].name}: not right before its first reader")
    expect(used == added, "a Quant that nothing needs in any state")
    return len(quants)


def inputs_in_test(before, after):
    """For each layer of a name of its own that is there in TEST: its bottoms, and what they are with Quant layers."""
    state = (1, 0, ())
    names = collections.Counter(layer.name for layer in before.layer if active(layer, state))
    plain = [layer for layer in after.layer if layer.type != "Quant"]
    return {old.name: (old.type, list(old.bottom), list(new.bottom)) for old, new in zip(before.layer, plain)
            if active(old, state) and names[old.name] == 1}


def check_names(train, deploy):
    """Ranges go over from training to deployment by the Quant layers' names."""
    for name in train.keys() & deploy.keys():
        (kind, *trained), (_, *deployed) = train[name], deploy[name]
        expect(trained[0] != deployed[0] or trained[1] == deployed[1],
               f"{name}, a {kind}, reads {trained[1]} in training and {deployed[1]} in deployment")


def check_file(program, pb, source):
    """What kind of file this is, how many Quant layers it got, and which of its layers read them."""
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
        expect(rewritten(program, "strip-quant", source) == source, "strip of a file without Quant changed it")
        return "old", 0, {}
    expect(code == 0, f"add-quant: exit {code}: {err.strip()}")
    stripped = rewritten(program, "strip-quant", source)
    expect(stripped == source, "strip of a file without Quant changed it")
    for selection, weights in itertools.product(SELECTIONS, ([], ["--weights"])):
        flags = selection.flags() + weights
        more = rewritten(program, "add-quant", source, *flags)
        expect(rewritten(program, "strip-quant", more) == source, f"strip(add {flags}) is not the original")
        expect(rewritten(program, "add-quant", more, *flags) == more, f"add {flags} twice is not add once")
        if readable and not weights:
            _, after = nets_of(pb, more)
            expect(len(before) == len(after), f"nets came or went with {flags}")
            for b, a in zip(before, after):
                check_net(b, a, selection)
    if not readable:
        return f"unreadable by protobuf ({reason[:90]})", 0, {}
    _, after = nets_of(pb, added)
    count = sum(check_net(b, a, Selection()) for b, a in zip(before, after))
    if not any(net.layer for net in before):
        expect(added == source, "a file without layers changed")
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
    parser.add_argument("--gfpq", default=str(here / "target/release/gfpq"), help="the program to judge")
    parser.add_argument("--verbose", action="store_true", help="a line for every file")
    arguments = parser.parse_args()
    if not has_proto(arguments.trees[0]):
        parser.error(f"{arguments.trees[0]}: no src/caffe/proto/caffe.proto in it")
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
    print(f"{counts['files']} files: {counts['net']} nets with {counts['quants']} Quant layers, all as expected, "
          f"{counts['no net']} without a net, {counts['old']} with old layers refused clearly, "
          f"{counts['refused by Caffe']} nets whose wiring Caffe refuses, {counts['unreadable by protobuf']} files "
          f"that protobuf cannot read; names the same in {counts['pairs']} pairs of training and deployment; "
          f"{counts['failed']} failed")
    return 1 if counts["failed"] or not counts["files"] else 0


if __name__ == "__main__":
    sys.exit(main())
