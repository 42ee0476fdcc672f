"""Compares the feature maps of the float and the quantised net, layer by layer."""

import math

import numpy as np

from .variants import CODES, STEPS, largest

# A layer is marked if the cosine similarity of its outputs is below this.
SUSPECT = 0.98
# Layer types that are not compared, as losses are not: they only pass a blob on, or their tops are no feature maps.
PASSING = frozenset(("Split", "Quant", "Input", "Silence", "Accuracy"))


class Comparison:
    """Compares a blob's values in the float net (`own`) with those in the quantised net (`other`), over all batches.

    `dot`, `own`, `other` and `error` are sums of own * other, own², other² and (own - other)²; `low` and `high` are
    the smallest and largest float value.
    """

    def __init__(self):
        self.count = 0
        self.dot = self.own = self.other = self.error = 0.0
        self.low, self.high = math.inf, -math.inf

    def add(self, own, other):
        own, other = own.ravel().astype(np.float64), other.ravel().astype(np.float64)
        self.count += own.size
        self.dot += float(own @ other)
        self.own += float(own @ own)
        self.other += float(other @ other)
        self.error += float(np.square(own - other).sum())
        if own.size:
            self.low, self.high = min(self.low, float(own.min())), max(self.high, float(own.max()))

    @property
    def cosine(self):
        """The cosine similarity of the two nets' values."""
        if self.own == 0 or self.other == 0:
            return 1.0 if self.own == self.other else 0.0
        return self.dot / math.sqrt(self.own * self.other)

    @property
    def sqnr(self):
        """The signal-to-quantisation-noise ratio in dB; None if there is no noise or no signal."""
        return 10 * math.log10(self.own / self.error) if self.error > 0 and self.own > 0 else None

    @property
    def relative_error(self):
        """The square root of the summed squared error divided by the summed squared float values."""
        if self.error == 0:
            return 0.0
        return math.sqrt(self.error / self.own) if self.own > 0 else math.inf


class Losses:
    """Counts of the values that quantisation flushes to zero or saturates, and a histogram of the magnitudes."""

    EDGES = np.arange(-40, 41) / 2  # The histogram's limits as log2 of the magnitude, in steps of half an octave.

    def __init__(self):
        self.values = self.nonzero = self.flushed = self.saturated = 0
        self.histogram = np.zeros(len(self.EDGES) - 1, dtype=np.int64)
        self.top = None
        self.bits = None

    def add(self, before, after, bits, top):
        """Adds values `before` and `after` quantisation to `bits`; `top` is the largest magnitude in the range."""
        before = np.abs(before.ravel())
        self.bits, self.top = bits, top
        self.values += before.size
        some = before > 0
        self.nonzero += int(some.sum())
        self.flushed += int((some & (after.ravel() == 0)).sum())
        # Values up to half a code above the largest number are rounded to it and do not count as saturated.
        self.saturated += int((before > top * 2 ** (0.5 / STEPS[bits])).sum())
        if some.any():
            octaves = np.clip(np.log2(before[some]), self.EDGES[0], self.EDGES[-1] - 1e-6)
            self.histogram += np.histogram(octaves, self.EDGES)[0]

    @property
    def flushed_share(self):
        """The part of the values other than zero that become zero."""
        return self.flushed / self.nonzero if self.nonzero else 0.0

    @property
    def saturated_share(self):
        """The part of all values that are above the largest number."""
        return self.saturated / self.values if self.values else 0.0

    @property
    def bottom(self):
        """The magnitude below which values become zero."""
        return self.top * 2.0 ** (-CODES[self.bits] / STEPS[self.bits]) / 2


class Layer:
    """A layer's output in both nets, and the losses of its data and weights.

    `data` and `weights` are None if these are not quantised, `unit` if nothing is. `maps` holds a few channels of the
    first sample's feature map, in float and quantised, if the top is an image.
    """

    def __init__(self, name, kind, unit):
        self.name = name
        self.kind = kind
        self.unit = unit
        self.output = Comparison()
        self.data = Losses() if unit and unit.quants else None
        self.weights = Losses() if unit and unit.weight_bits else None
        # The number of filters that become all zero, and of all filters.
        self.silenced = self.filters = 0
        self.maps = None

    @property
    def suspect(self):
        return bool(self.output.cosine < SUSPECT)


def compare(subject, library, progress):
    """Runs the float net and the fully quantised net layer by layer, and returns a Layer for each layer's first top.

    `library` is the gfpq.Library that quantises weights. Calls progress() after each batch.
    """
    everything = subject.everything()
    float_net = subject.build(subject.variant())
    quant_net = subject.build(subject.variant(everything, everything))
    units = {unit.name: unit for unit in subject.units}
    readers = {name: unit for unit in subject.units for name in unit.quants}
    names = list(float_net._layer_names)
    layers = {}
    for index, name in enumerate(names):
        kind = float_net.layers[index].type
        if kind not in PASSING and "Loss" not in kind and len(float_net._top_ids(index)) > 0:
            layers[name] = Layer(name, kind, units.get(name))

    for batch in subject.batches:
        subject.feed(float_net, batch)
        subject.feed(quant_net, batch)
        for index, name in enumerate(names):
            top = next(iter(float_net._top_ids(index)), None)
            blob = None if top is None else float_net._blob_names[top]
            # In-place layers overwrite their bottom, so it is copied before they run.
            if float_net.layers[index].type == "Quant":
                before = quant_net.blobs[quant_net._blob_names[quant_net._bottom_ids(index)[0]]].data.copy()
            float_net._forward(index, index)
            quant_net._forward(index, index)
            if float_net.layers[index].type == "Quant":
                bits, delta = (int(value) for value in quant_net.params[name][0].data[0])
                layers[readers[name].name].data.add(before, quant_net.blobs[blob].data, bits, largest(delta, bits))
            elif name in layers:
                own, other = float_net.blobs[blob].data, quant_net.blobs[blob].data
                layers[name].output.add(own, other)
                if layers[name].maps is None and own.ndim == 4 and own.shape[2] * own.shape[3] > 1:
                    shown = _channels_to_show(own[0], other[0])
                    layers[name].maps = (own[0][shown].copy(), other[0][shown].copy())
        progress()

    for layer in layers.values():
        if layer.weights is not None:
            weights = float_net.params[layer.name][0].data
            after, delta = library.quantise(weights, layer.unit.weight_bits)
            layer.weights.add(weights, after, layer.unit.weight_bits, largest(delta, layer.unit.weight_bits))
            before, after = (np.any(array.reshape(len(array), -1), axis=1) for array in (weights, after))
            layer.silenced, layer.filters = int((before & ~after).sum()), len(weights)
    return list(layers.values())


def _channels_to_show(own, other):
    """The indices of the three channels with the largest sums, and of three others with the largest relative error."""
    signal, error = np.abs(own).sum(axis=(1, 2)), np.abs(own - other).sum(axis=(1, 2))
    relative = np.divide(error, signal, out=np.zeros_like(error), where=signal > 0)
    strongest = list(np.argsort(-signal, kind="stable")[:3])
    return strongest + [index for index in np.argsort(-relative, kind="stable") if index not in strongest][:3]
