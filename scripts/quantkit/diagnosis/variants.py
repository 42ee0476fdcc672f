"""The net under diagnosis, in a form whose layers can be quantised one by one.

Its data is read once and kept, so that every variant sees the same batches; it is reduced to phase TEST; and each layer
that reads quantised data gets a Quant layer of its own, so that one layer's data can be float while another's that
reads the same blob is not. Blob names stay, so the variants' feature maps compare by name.
"""

import math

import numpy as np

from .. import model
from ..calibration import calibration_net
from ..child_process import Problem
from ..nnie import HIGH_PRECISION, WEIGHTED

STEPS = {8: 16, 16: 128}
CODES = {8: 127, 16: 1407}
# What is looked at where nobody says how much.
MIN_SAMPLES, MIN_BATCHES = 64, 4


class Unit:
    """A layer that the NNIE computes: its Quant layers, in the order of its bottoms, and the bits of its weights."""

    def __init__(self, name, kind):
        self.name = name
        self.kind = kind
        self.quants = []
        self.weight_bits = None
        self.top = None


def included(layer, state):
    """Whether a net in this state has the layer, by its include and exclude rules."""
    def meets(rule):
        if rule.HasField("phase") and rule.phase != state.phase:
            return False
        if rule.HasField("min_level") and state.level < rule.min_level:
            return False
        if rule.HasField("max_level") and state.level > rule.max_level:
            return False
        return set(rule.stage) <= set(state.stage) and not set(rule.not_stage) & set(state.stage)

    if layer.include:
        return any(map(meets, layer.include))
    return not any(map(meets, layer.exclude))


def rescale(delta, bits, to):
    """A range of one width as one of the other: exact from 16 to 8 bits, and from 8 to 16 the widest that it may be."""
    if bits == to:
        return delta
    octave = (delta + CODES[bits]) if bits == 16 else (delta + CODES[bits] + 1)
    if bits == 16:
        return octave // 8 - CODES[8]
    return octave * 8 - 1 - CODES[16]


def largest(delta, bits):
    """The largest magnitude of a range."""
    return 2.0 ** ((delta + CODES[bits]) / STEPS[bits])


class Subject:
    """The net, its weights and its batches; variant() and build() make nets of it."""

    def __init__(self, caffe, net, weights, scratch):
        """`net` is the quantised NetParameter, its state included; batches() and ranges() complete the subject."""
        self.caffe = caffe
        self.weights = weights
        self.scratch = scratch
        pb2 = caffe.proto.caffe_pb2
        state = pb2.NetState(phase=pb2.TEST, level=net.state.level, stage=net.state.stage)
        self.original = type(net)()
        self.original.CopyFrom(net)
        self.original.state.CopyFrom(state)
        self.batches = []
        self.net = None
        self.units = []
        self.ranges = {}
        self.origin = {}

    def read_batches(self, arrays, count):
        """Takes `count` batches: of the net's own data layers, or of arrays by blob name where it has Input layers.

        Without a count there are as many as hold MIN_SAMPLES, MIN_BATCHES at least.
        """
        built = model.build(self.caffe, model.float_net(self.original), self.scratch / "data.prototxt")
        sources = [index for index, layer in enumerate(built.layers)
                   if len(built._bottom_ids(index)) == 0 and layer.type != "Parameter"]
        inputs = [index for index in sources if built.layers[index].type == "Input"]
        blobs = [built._blob_names[top] for index in sources for top in built._top_ids(index)]
        if count is None:
            size = max((built.blobs[blob].data.shape[0] for blob in blobs if built.blobs[blob].data.ndim), default=1)
            count = max(MIN_BATCHES, math.ceil(MIN_SAMPLES / max(size, 1)))
        if inputs:
            asked = [built._blob_names[top] for index in inputs for top in built._top_ids(index)]
            shapes = {blob: tuple(built.blobs[blob].data.shape) for blob in asked}
            self.batches = _batches_of(arrays, shapes, count)
            if len(inputs) < len(sources):
                raise Problem("the net has both Input and data layers: diagnose one that has one kind")
        else:
            if arrays:
                raise Problem("--data is for nets with Input layers, and this one reads its own data")
            for _ in range(count):
                for index in sources:
                    built._forward(index, index)
                self.batches.append({blob: built.blobs[blob].data.copy() for blob in blobs})
        for batch in self.batches:
            for blob, values in batch.items():
                if not np.isfinite(values).all():
                    raise Problem(f"the data in blob {blob} holds NaN or infinity")
        self._reduce(blobs)

    def _reduce(self, blobs):
        """Makes self.net and self.units: data as Input layers, phase TEST, a Quant layer for each reader."""
        net = type(self.original)(name=self.original.name, state=self.original.state)
        net.weight_quant_param.CopyFrom(self.original.weight_quant_param)
        for blob in blobs:
            layer = net.layer.add(name=f"input_{blob}", type="Input", top=[blob])
            layer.input_param.shape.add(dim=self.batches[0][blob].shape)
        current = {}  # What a blob of the file is called here, where that differs.
        made = {}     # (Quant layer, pair, what it reads) by the top that it makes.
        for layer in self.original.layer:
            if not included(layer, self.original.state) or not (layer.bottom or layer.type == "Parameter"):
                continue
            bottoms = [current.get(bottom, bottom) for bottom in layer.bottom]
            if layer.type == "Quant":
                for pair, (bottom, top) in enumerate(zip(bottoms, layer.top)):
                    in_place = top == layer.bottom[pair]
                    current[top] = f"{top}/quantised" if in_place else top
                    made[current[top]] = (layer, pair, bottom)
                continue
            unit = Unit(layer.name, layer.type)
            bottoms = [self._own_quant(net, unit, made[bottom]) if bottom in made else bottom for bottom in bottoms]
            new = net.layer.add()
            new.CopyFrom(layer)
            del new.include[:], new.exclude[:], new.bottom[:], new.top[:]
            new.bottom.extend(bottoms)
            for top in layer.top:
                # In place stays in place.
                current[top] = bottoms[list(layer.bottom).index(top)] if top in layer.bottom else top
                made.pop(current[top], None)
                new.top.append(current[top])
            unit.top = new.top[0] if new.top else None
            if layer.type in WEIGHTED and net.weight_quant_param.quant_en and layer.quant_param.quant_en:
                own = layer.quant_param.quant_bits if layer.quant_param.HasField("quant_bits") else None
                unit.weight_bits = own or (16 if layer.name.endswith(HIGH_PRECISION) else net.weight_quant_param.quant_bits)
            if unit.quants or unit.weight_bits:
                self.units.append(unit)
        self.net = net
        if not self.units:
            raise Problem("the net has no layer in TEST that the NNIE computes")

    def _own_quant(self, net, unit, maker):
        """Gives a layer to come a Quant layer of its own, and returns what the layer is to read."""
        quant, pair, source = maker
        if not quant.quant_param.quant_en:
            return source
        name = f"{quant.name}/{unit.name}/{len(unit.quants)}"
        own = net.layer.add(name=name, type="Quant", bottom=[source], top=[name])
        own.quant_param.CopyFrom(quant.quant_param)
        own.param.add(lr_mult=0, decay_mult=0)
        self.origin[name] = (quant.name, pair)
        unit.quants.append(name)
        return name

    def bits_of(self, quant):
        return next(layer.quant_param.quant_bits for layer in self.net.layer if layer.name == quant)

    def variant(self, data=(), weights=(), sixteen=()):
        """The net with the data and the weights of these layers quantised, some of them in 16 bits."""
        data, weights, sixteen = set(data), set(weights), set(sixteen)
        net = type(self.net)()
        net.CopyFrom(self.net)
        layers = {layer.name: layer for layer in net.layer}
        for unit in self.units:
            for name in unit.quants:
                param = layers[name].quant_param
                param.quant_en = unit.name in data
                if unit.name in sixteen:
                    param.quant_bits = 16
            if unit.weight_bits:
                param = layers[unit.name].quant_param
                param.quant_en = unit.name in weights
                param.quant_bits = 16 if unit.name in sixteen else unit.weight_bits
        return net

    @property
    def samples(self):
        return sum(len(next(iter(batch.values()))) for batch in self.batches)

    def default_output(self):
        """The blob that a test or a loss judges; without one, the first that nothing reads."""
        for wanted in ("Accuracy", "Loss"):
            for layer in self.net.layer:
                if wanted in layer.type and layer.bottom:
                    return layer.bottom[0]
        read = {bottom for layer in self.net.layer for bottom in layer.bottom}
        return next(layer.top[0] for layer in reversed(self.net.layer) if layer.top and layer.top[0] not in read)

    def everything(self):
        """The names of all units."""
        return [unit.name for unit in self.units]

    def build(self, net):
        """Builds a variant with its weights and ranges."""
        built = model.build(self.caffe, net, self.scratch / "variant.prototxt")
        built.copy_from(str(self.weights))
        for layer in net.layer:
            if layer.type == "Quant":
                bits = layer.quant_param.quant_bits
                row = built.params[layer.name][0].data
                row[...] = 0
                if layer.name in self.ranges:
                    own, delta = self.ranges[layer.name]
                    row[0] = (bits, rescale(delta, own, bits))
        return built

    def feed(self, built, batch):
        for blob, values in batch.items():
            built.blobs[blob].data[...] = values

    def find_ranges(self, stored):
        """Takes the ranges that the model holds (blob arrays by Quant layer), and gets the others from the batches."""
        for name, (quant, pair) in self.origin.items():
            if quant in stored and stored[quant][pair][0] != 0:
                bits, delta = (int(value) for value in stored[quant][pair])
                if bits != self.bits_of(name):
                    raise Problem(f"{self.weights}: Quant layer {quant} has a range of {bits} bits, and the net says "
                                  f"{self.bits_of(name)}: diagnose the model with the net it was trained with")
                self.ranges[name] = (bits, delta)
        if len(self.ranges) == len(self.origin):
            return 0
        # At 16 bits, from which the range of 8 bits follows exactly.
        everything = self.everything()
        net = calibration_net(self.caffe, self.variant(everything, everything, everything))
        for layer in net.layer:
            if layer.name in self.ranges:
                layer.phase = self.caffe.TEST
        built = self.build(net)
        for batch in self.batches:
            self.feed(built, batch)
            built.forward()
        missing = [name for name in self.origin if name not in self.ranges]
        for name in missing:
            bits, delta = built.params[name][0].data[0]
            self.ranges[name] = (int(bits), int(delta))
        return len(missing)


def _batches_of(arrays, shapes, count):
    """Cuts arrays into batches for the inputs of these shapes."""
    if not arrays:
        listed = ", ".join(f"{blob} of {'x'.join(map(str, shape))}" for blob, shape in shapes.items())
        raise Problem(f"the net takes its input from outside ({listed}): give --data FILE, an .npy, .npz or HDF5 file")
    if len(arrays) == 1 and len(shapes) == 1:
        arrays = dict(zip(shapes, arrays.values()))
    rows = math.inf
    for blob, shape in shapes.items():
        if blob not in arrays:
            raise Problem(f"--data has no array {blob!r}; it has {', '.join(arrays)}")
        if arrays[blob].shape[1:] != shape[1:]:
            raise Problem(f"--data: {blob} is {arrays[blob].shape}, and the net wants (N, {str(shape[1:])[1:]}")
        rows = min(rows, len(arrays[blob]))
    if rows == 0:
        raise Problem("--data holds no rows")
    size = min(rows, max(shape[0] for shape in shapes.values()))
    return [{blob: np.asarray(arrays[blob][start:start + size], dtype=np.float32) for blob in shapes}
            for start in range(0, min(rows // size, count) * size, size)]
