"""The wiring of a net as Caffe's Net::Init makes it: its states, what each layer reads, and whether Caffe accepts it.

Written after Caffe's source, independently of the program gfpq.
"""

import collections
import itertools
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from quantkit.net_rules import State, included  # noqa: E402


def states_of(net):
    """The states that cover all cases which the net's rules distinguish, with at most 256 sets of stages."""
    rules = [rule for layer in net.layer for rule in itertools.chain(layer.include, layer.exclude)]
    stages = sorted({stage for rule in rules for stage in itertools.chain(rule.stage, rule.not_stage)})
    levels = {0}
    for rule in rules:
        if rule.HasField("min_level"):
            levels |= {rule.min_level, rule.min_level - 1}
        if rule.HasField("max_level"):
            levels |= {rule.max_level, rule.max_level + 1}
    chosen = itertools.chain.from_iterable(itertools.combinations(stages, n) for n in range(len(stages) + 1))
    return [State(*parts) for parts in itertools.product((0, 1), sorted(levels), itertools.islice(chosen, 256))]


def wired(net, state, ordinals):
    """Yields, for each layer in the state, its index, the layer, and the sources of its bottoms.

    A source is (kind, number, index of the top). The kind is input, layer or nothing; a layer's number is its entry in
    `ordinals`.
    """
    current = {name: ("input", i, 0) for i, name in enumerate(net.input)}
    for number, layer in enumerate(net.layer):
        if not included(layer, state):
            continue
        sources = [current.get(name, ("nothing", name, 0)) for name in layer.bottom]
        yield number, layer, sources
        for top, name in enumerate(layer.top):
            current[name] = ("layer", ordinals[number], top)


def caffe_takes(net, state):
    """Whether Caffe's Net::Init would accept the wiring of the net in this state."""
    current = {name: ("input", i, 0) for i, name in enumerate(net.input)}
    readers = collections.Counter()
    in_place = []
    ever = set(current)
    for number, layer in enumerate(net.layer):
        if not included(layer, state):
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
    # Caffe splits a blob with two readers into blobs of other names, which an in-place layer cannot overwrite.
    return all(readers[source] == 1 for source in in_place)
