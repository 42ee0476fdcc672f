"""Restores the state of data layers and random numbers, so that a resumed training equals an uninterrupted one.

A solverstate holds the weights and the solver's history, but not the positions of the data layers, nor how many random
numbers were drawn. Both depend only on the order of forward passes. On a newly built net, the data layers and the
layers that may draw random numbers are therefore run as often and in the same order as before, and no other layers.
"""

# Layer types whose forward pass draws no random number and changes no state. All other types are run again.
STATELESS = frozenset("""
    AbsVal Accuracy ArgMax BNLL BatchNorm BatchReindex Bias Clip Concat ContrastiveLoss Convolution Crop Deconvolution
    DepthwiseConv DepthwiseConvolution ConvolutionDepthwise ELU Eltwise Embed EuclideanLoss Exp Filter Flatten HingeLoss
    Im2col InfogainLoss InnerProduct Input LRN LSTM LSTMUnit Log MVN MultinomialLogisticLoss PReLU Parameter Pooling
    Power Quant RNN ReLU Reduction Reshape SPP Scale Sigmoid SigmoidCrossEntropyLoss Silence Slice Softmax
    SoftmaxWithLoss Split Swish TanH Threshold Tile
""".split())


def stateful_layers(net):
    """The indices of the layers that must be run again."""
    return [index for index, layer in enumerate(net.layers) if layer.type not in STATELESS]


def advance(net, layers, times):
    """Runs only these layers of the net, in order, `times` times."""
    for _ in range(times):
        for index in layers:
            net._forward(index, index)
