"""Measures the effect of each layer's quantisation on the net's output, and what 16 bits would improve."""

from .. import evaluation
from .features import Comparison

# Accuracy that may be lost without a need for 16 bits; two samples more or less are always tolerated.
TOLERANCE = 0.005
# Without a loss of accuracy above that, 16 bits must remove at least this part of the output's error to be advised.
PART = 0.5
# Numbers of worst layers that are tried together in 16 bits.
TRIED = (1, 2, 3, 5, 8)


class Outcome:
    """A variant's test figures, and its output's relative error and cosine similarity against the float net's."""

    def __init__(self, figures, error, cosine):
        self.figures = figures
        self.error = error
        self.cosine = cosine


class Judge:
    """Runs variants of a subject on its batches, and compares the blob `output` with the float net's."""

    def __init__(self, subject, output):
        self.subject = subject
        self.output = output
        built = subject.build(subject.variant())
        self.outputs = evaluation.outputs([built])
        # The first run, in float, fills `reference` with its output for each batch.
        self.reference = []
        self.float = self.run()

    @property
    def accuracy(self):
        """The index of the first accuracy among the figures, or None."""
        return next((index for index, output in enumerate(self.outputs) if output.is_accuracy), None)

    def run(self, data=(), weights=(), sixteen=()):
        """The Outcome of the variant with the data and weights of these layers quantised; see Subject.variant()."""
        built = self.subject.build(self.subject.variant(data, weights, sixteen))
        comparison = Comparison()
        sums = [0.0] * len(self.outputs)
        for index, batch in enumerate(self.subject.batches):
            self.subject.feed(built, batch)
            built.forward()
            sums = [a + b for a, b in zip(sums, evaluation.figures(built))]
            values = built.blobs[self.output].data
            if len(self.reference) <= index:
                self.reference.append(values.copy())
            comparison.add(self.reference[index], values)
        return Outcome([total / len(self.subject.batches) for total in sums], comparison.relative_error,
                       comparison.cosine)

    def lost(self, outcome):
        """The accuracy that is lost against float; None if the net has no accuracy."""
        if self.accuracy is None:
            return None
        return self.float.figures[self.accuracy] - outcome.figures[self.accuracy]


class Ranked:
    """A layer's two outcomes: `alone`, only this layer is quantised; `without`, all layers but this one are."""

    def __init__(self, unit, alone, without):
        self.unit = unit
        self.alone = alone
        self.without = without


def modes(judge):
    """The outcomes in float, with data quantised, with weights quantised, and with both."""
    everything = judge.subject.everything()
    return {"float": judge.float, "data": judge.run(data=everything), "weights": judge.run(weights=everything),
            "data and weights": judge.run(everything, everything)}


def rank(judge, progress):
    """A Ranked for every unit, sorted by the error of quantising that layer alone, largest first."""
    everything = judge.subject.everything()
    ranked = []
    for unit in judge.subject.units:
        others = [name for name in everything if name != unit.name]
        ranked.append(Ranked(unit, judge.run([unit.name], [unit.name]), judge.run(others, others)))
        progress()
    lost = judge.lost if judge.accuracy is not None else lambda _: 0.0
    ranked.sort(key=lambda entry: (-entry.alone.error, -lost(entry.alone)))
    return ranked


def sixteen_bits(judge, ranked, progress):
    """Tries 16 bits for more and more of the worst layers, and for all. Returns a list of (layers, outcome)."""
    everything = judge.subject.everything()
    eight = [entry.unit.name for entry in ranked if not _is_sixteen(judge.subject, entry.unit)]
    counts = sorted({min(count, len(eight)) for count in TRIED} | {len(eight)})
    tried = []
    for count in counts:
        if count:
            tried.append((eight[:count], judge.run(everything, everything, eight[:count])))
        progress()
    return tried


def advise(judge, both, tried, ranked):
    """Returns (advice, layers for 16 bits). These are the fewest worst layers whose outcome is close enough to float.

    The list is empty if no layer needs 16 bits, or if these would not help.
    """
    lost = judge.lost(both)
    tolerance = max(TOLERANCE, 2.01 / judge.subject.samples)
    if (lost is not None and lost <= tolerance and both.cosine >= 0.98) or (lost is None and both.cosine >= 0.99):
        return "No layer needs 16 bits: quantisation costs almost nothing here.", []

    for layers, outcome in tried:
        if lost is None:
            enough = outcome.error <= PART * both.error
        elif lost > tolerance:
            enough = judge.lost(outcome) <= tolerance
        else:
            enough = outcome.error <= PART * both.error
        if enough and len(layers) < len(judge.subject.units):
            was = f"the output's error from {both.error:.3f} to {outcome.error:.3f}"
            if lost is not None:
                was += (f" and the accuracy lost from {100 * lost:.2f} to {100 * judge.lost(outcome):.2f} points")
            return f"Give 16 bits to {', '.join(layers)}: as measured here, that changes {was}.", layers

    worst = max(ranked, key=lambda entry: _won_back(judge, both, entry.without))
    if _won_back(judge, both, worst.without) >= PART:
        return (f"16 bits do not help: most of the loss comes from {worst.unit.name}, and 16 bits cannot hold its "
                "values either. Its channels are probably octaves apart: fold or rescale them, and retrain with "
                "finetune.py."), []
    return ("16 bits for a few layers do not help: the loss is spread over the net, or too large. Retrain with "
            "finetune.py."), []


def _won_back(judge, both, outcome):
    """The part of the loss of quantising everything (`both`) that does not occur in `outcome`."""
    whole, rest = judge.lost(both), judge.lost(outcome)
    if whole is None or whole <= 0:
        whole, rest = both.error, outcome.error
    return (whole - rest) / whole if whole > 0 else 0.0


def _is_sixteen(subject, unit):
    """Whether the unit's data and weights are in 16 bits already."""
    return all(subject.bits_of(name) == 16 for name in unit.quants) and unit.weight_bits in (None, 16)
