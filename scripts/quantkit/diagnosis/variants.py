"""The net under diagnosis, in a form whose layers can be quantised one by one.

The net is reduced to phase TEST. Its data is read once and kept, so that every variant gets the same batches. Each
layer that reads quantised data gets a Quant layer of its own, so that two readers of one blob can be quantised
independently. Blob names are kept, so that the feature maps of two variants can be compared by name.
"""

import math

import numpy as np

from .. import model
from ..calibration import calibration_net
from ..child_process import Problem
from ..net_rules import included
from ..nnie import HIGH_PRECISION, WEIGHTED

# The format by its width in bits: codes per octave, and the largest code. A range with a given delta has the magnitudes
# from 2^(delta / STEPS) to 2^((delta + CODES) / STEPS).
STEPS = {8: 16, 16: 128}
CODES = {8: 127, 16: 1407}
# Without --batches, at least this many batches and at least this many samples are read.
MIN_SAMPLES, MIN_BATCHES = 64, 4


class Unit:
    """A layer that the NNIE computes, with the names of its Quant layers in the order of its bottoms.

    `weight_bits` is None if the weights are not quantised; `top` is the layer's first top.
    """

    def __init__(self, name, kind):
        self.name = name
        self.kind = kind
        self.quants = []
        self.weight_bits = None
        self.top = None


def rescale(delta, bits, to):
    """Converts the delta of a range from `bits` to the width `to`.

    From 16 to 8 bits it is exact. A range in 8 bits has several counterparts in 16 bits; the widest is taken.
    """
    if bits == to:
        return delta
    octave = (delta + CODES[bits]) if bits == 16 else (delta + CODES[bits] + 1)
    if bits == 16:
        return octave // 8 - CODES[8]
    return octave * 8 - 1 - CODES[16]


def largest(delta, bits):
    """The largest magnitude in the range `delta`."""
    return 2.0 ** ((delta + CODES[bits]) / STEPS[bits])


class Subject:
    """The net, its weights, its batches and its ranges; variant() and build() make nets of them."""

    def __init__(self, caffe, net, weights, scratch):
        """`net` is the quantised NetParameter with its state, `weights` the path of the caffemodel.

        `scratch` is a folder for the prototxt files of variants. read_batches() and then find_ranges() complete the
        subject.
        """
        self.caffe = caffe
        self.weights = weights
        self.scratch = scratch
        pb2 = caffe.proto.caffe_pb2
        state = pb2.NetState(phase=pb2.TEST, level=net.state.level, stage=net.state.stage)
        self.original = type(net)()
        self.original.CopyFrom(net)
        self.original.state.CopyFrom(state)
        self.batches = []  # Arrays by the name of the data blob, for each batch.
        self.net = None    # The reduced net, with everything quantised.
        self.units = []
        self.ranges = {}   # (bits, delta) by the name of the reduced net's Quant layer.
        self.origin = {}   # (the original Quant layer's name, index of its bottom) by that name.

    def read_batches(self, arrays, count):
        """Reads `count` batches from the net's own data layers, or from arrays by blob name if it has Input layers.

        If `count` is None, enough batches for MIN_SAMPLES samples are read, but at least MIN_BATCHES.
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
                raise Problem("the net has both Input and data layers: diagnose a net with only one of these kinds")
        else:
            if arrays:
                raise Problem("--data is for nets with Input layers; this net reads its own data")
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
        """Makes self.net and self.units: Input layers for the data, only layers in TEST, a Quant layer for each reader.

        `blobs` are the tops of the data layers.
        """
        net = type(self.original)(name=self.original.name, state=self.original.state)
        net.weight_quant_param.CopyFrom(self.original.weight_quant_param)
        for blob in blobs:
            layer = net.layer.add(name=f"input_{blob}", type="Input", top=[blob])
            layer.input_param.shape.add(dim=self.batches[0][blob].shape)

        current = {}  # The blob's name in the new net, if it differs from the original name.
        made = {}     # (original Quant layer, index of its bottom, its bottom in the new net) by the Quant layer's top.
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
                # A layer that works in place still does.
                current[top] = bottoms[list(layer.bottom).index(top)] if top in layer.bottom else top
                made.pop(current[top], None)
                new.top.append(current[top])
            unit.top = new.top[0] if new.top else None
            if layer.type in WEIGHTED and net.weight_quant_param.quant_en and layer.quant_param.quant_en:
                own = layer.quant_param.quant_bits if layer.quant_param.HasField("quant_bits") else None
                by_name = 16 if layer.name.endswith(HIGH_PRECISION) else net.weight_quant_param.quant_bits
                unit.weight_bits = own or by_name
            if unit.quants or unit.weight_bits:
                self.units.append(unit)

        self.net = net
        if not self.units:
            raise Problem("the net has no layer in phase TEST that the NNIE computes")

    def _own_quant(self, net, unit, maker):
        """Adds a Quant layer for the next layer, `unit`, and returns the name of the blob that this layer must read.

        `maker` is the entry of the original Quant layer; if that is switched off, nothing is added.
        """
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
        """The width of a Quant layer of the reduced net."""
        return next(layer.quant_param.quant_bits for layer in self.net.layer if layer.name == quant)

    def variant(self, data=(), weights=(), sixteen=()):
        """The NetParameter in which only the data and the weights of the named layers are quantised.

        Those of layers in `sixteen` are quantised in 16 bits.
        """
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
        """The number of samples in all batches."""
        return sum(len(next(iter(batch.values()))) for batch in self.batches)

    def default_output(self):
        """The first bottom of the Accuracy or loss layer; without one, the last layer's top that nothing reads."""
        for wanted in ("Accuracy", "Loss"):
            for layer in self.net.layer:
                if wanted in layer.type and layer.bottom:
                    return layer.bottom[0]
        read = {bottom for layer in self.net.layer for bottom in layer.bottom}
        return next(layer.top[0] for layer in reversed(self.net.layer) if layer.top and layer.top[0] not in read)

    def everything(self):
        """The names of all units, for variant()."""
        return [unit.name for unit in self.units]

    def build(self, net):
        """Builds a variant, with its weights and with the ranges in the width of each Quant layer."""
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
        """Puts a batch into the input blobs."""
        for blob, values in batch.items():
            built.blobs[blob].data[...] = values

    def find_ranges(self, stored):
        """Takes the ranges in the model, and measures the missing ones on the batches. Returns how many were measured.

        `stored` holds the model's arrays of ranges by Quant layer.
        """
        for name, (quant, pair) in self.origin.items():
            if quant in stored and stored[quant][pair][0] != 0:
                bits, delta = (int(value) for value in stored[quant][pair])
                if bits != self.bits_of(name):
                    raise Problem(f"{self.weights}: Quant layer {quant} has a range of {bits} bits, but the net has "
                                  f"{self.bits_of(name)}: diagnose the model with the net that it was trained with")
                self.ranges[name] = (bits, delta)
        if len(self.ranges) == len(self.origin):
            return 0

        # Measured in 16 bits, from which the range in 8 bits follows exactly.
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
    """Cuts arrays into at most `count` full batches for inputs of these shapes."""
    if not arrays:
        listed = ", ".join(f"{blob} of {'x'.join(map(str, shape))}" for blob, shape in shapes.items())
        raise Problem(f"the net has Input layers ({listed}): give --data FILE, an .npy, .npz or HDF5 file")
    if len(arrays) == 1 and len(shapes) == 1:
        arrays = dict(zip(shapes, arrays.values()))

    rows = math.inf
    for blob, shape in shapes.items():
        if blob not in arrays:
            raise Problem(f"--data has no array {blob!r}; it has {', '.join(arrays)}")
        if arrays[blob].shape[1:] != shape[1:]:
            raise Problem(f"--data: {blob} has shape {arrays[blob].shape}, but the net needs (N, {str(shape[1:])[1:]}")
        rows = min(rows, len(arrays[blob]))
    if rows == 0:
        raise Problem("--data holds no rows")
    size = min(rows, max(shape[0] for shape in shapes.values()))
    return [{blob: np.asarray(arrays[blob][start:start + size], dtype=np.float32) for blob in shapes}
            for start in range(0, min(rows // size, count) * size, size)]
