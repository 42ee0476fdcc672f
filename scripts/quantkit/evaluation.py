"""The figures that test nets give for a model: accuracies and losses."""

import numpy as np

# Accuracies by class are reported for nets with at most this many classes.
MOST_CLASSES = 16


class Output:
    """One figure of a test net: its label, and whether it is an accuracy (from 0 to 1)."""

    def __init__(self, label, is_accuracy):
        self.label = label
        self.is_accuracy = is_accuracy

    def show(self, value):
        """The value as text: an accuracy in percent, or a loss."""
        return f"{100 * value:.2f}%" if self.is_accuracy else f"{value:.5g}"

    def lost(self, before, after):
        """What was lost from `before` to `after`, as text: percentage points of accuracy, or the growth of a loss."""
        return f"{100 * (before - after):+.2f}%" if self.is_accuracy else f"{after - before:+.5g}"


def _figures(net):
    """Yields (blob, index in the blob, is_accuracy) for each figure among the net's outputs.

    Figures are outputs with one number, and the accuracies by class.
    """
    made_by = {}
    for index, layer in enumerate(net.layers):
        for top in net._top_ids(index):
            made_by[net._blob_names[top]] = layer.type
    for blob in net.outputs:
        size, is_accuracy = net.blobs[blob].data.size, made_by.get(blob) == "Accuracy"
        if size == 1 or is_accuracy and size <= MOST_CLASSES:
            for index in range(size):
                yield blob, index, is_accuracy


def outputs(nets):
    """An Output for each figure of the test nets, in the order of evaluate()'s values."""
    result = []
    for number, net in enumerate(nets):
        for blob, index, is_accuracy in _figures(net):
            label = blob if net.blobs[blob].data.size == 1 else f"{blob}[{index}]"
            result.append(Output(label if len(nets) == 1 else f"test{number}/{label}", is_accuracy))
    return result


def figures(net):
    """The values of the net's figures after its last forward pass."""
    return [float(net.blobs[blob].data.flat[index]) for blob, index, _ in _figures(net)]


def loss_of(net):
    """The training loss of the net's last forward pass: the weighted sum of its loss blobs."""
    return sum(weight * float(net.blobs[blob].data.sum()) for blob, weight in net.blob_loss_weights.items() if weight)


def evaluate(nets, iterations):
    """Runs each net for its number of batches, and returns the mean of each figure, net by net."""
    values = []
    for net, count in zip(nets, iterations):
        sums = 0.0
        for _ in range(count):
            net.forward()
            sums += np.array(figures(net))
        values.extend(float(value) for value in np.atleast_1d(sums / count))
    return values
