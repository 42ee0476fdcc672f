"""What each layer's quantisation does to the outcome, and what 16 bits would win where."""

from .. import evaluation
from .features import Comparison

# Accuracy that may be lost before a layer is worth 16 bits (and two samples may always), and the part of the error that
# 16 bits must take away where that is the measure.
TOLERANCE = 0.005
PART = 0.5
# How many of the worst layers are tried in 16 bits together.
TRIED = (1, 2, 3, 5, 8)


class Outcome:
    """A variant's test figures and its output's error against the float net's."""

    def __init__(self, figures, error, cosine):
        self.figures = figures
        self.error = error
        self.cosine = cosine


class Judge:
    """Runs variants of a subject on its batches."""

    def __init__(self, subject, output):
        self.subject = subject
        self.output = output
        built = subject.build(subject.variant())
        self.outputs = evaluation.outputs([built])
        self.reference, self.float = [], None
        self.float = self.run()

    @property
    def accuracy(self):
        """The place among the figures of the first accuracy, or None."""
        return next((index for index, output in enumerate(self.outputs) if output.is_accuracy), None)

    def run(self, data=(), weights=(), sixteen=()):
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
        """Accuracy lost against float; None without an accuracy."""
        if self.accuracy is None:
            return None
        return self.float.figures[self.accuracy] - outcome.figures[self.accuracy]


class Ranked:
    """A layer quantised alone, and the whole net quantised but for it."""

    def __init__(self, unit, alone, without):
        self.unit = unit
        self.alone = alone
        self.without = without


def modes(judge):
    """Float, data alone, weights alone, both."""
    everything = judge.subject.everything()
    return {"float": judge.float, "data": judge.run(data=everything), "weights": judge.run(weights=everything),
            "data and weights": judge.run(everything, everything)}


def rank(judge, progress):
    """Every layer, the one whose quantisation alone does most to the output first."""
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
    """[(layers, outcome)]: the worst layers in 16 bits, more and more of them, and at last all."""
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
    """(sentence, layers for 16 bits): the fewest layers that bring the outcome near enough to float, if any do."""
    lost = judge.lost(both)
    tolerance = max(TOLERANCE, 2.01 / judge.subject.samples)
    if (lost is not None and lost <= tolerance and both.cosine >= 0.98) or (lost is None and both.cosine >= 0.99):
        return "No layer needs 16 bits: quantisation costs next to nothing here.", []
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
            return f"Give 16 bits to {', '.join(layers)}: measured here, that brings {was}.", layers
    worst = max(ranked, key=lambda entry: _won_back(judge, both, entry.without))
    if _won_back(judge, both, worst.without) >= PART:
        return (f"16 bits are not the cure: most of the loss is {worst.unit.name}'s alone, and they cannot hold it, either. "
                "Its channels are probably octaves apart: fold or rescale them, and retrain with finetune.py."), []
    return ("No few layers in 16 bits are the cure: the loss is spread over the net, or too large. Retrain with "
            "finetune.py."), []


def _won_back(judge, both, outcome):
    """The part of what quantising everything costs that another outcome does not."""
    whole, rest = judge.lost(both), judge.lost(outcome)
    if whole is None or whole <= 0:
        whole, rest = both.error, outcome.error
    return (whole - rest) / whole if whole > 0 else 0.0


def _is_sixteen(subject, unit):
    return all(subject.bits_of(name) == 16 for name in unit.quants) and unit.weight_bits in (None, 16)
