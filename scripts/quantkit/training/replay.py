"""Brings a freshly built net to where it was after some iterations, so that a resumed training equals a whole one.

A solverstate holds the weights and the solver's history, but not where the data layers are nor how many random numbers
were drawn. Both follow from the order of the calls: data layers, and layers that may draw, are run again as often as
they were, in the same order, with nothing computed in between.
"""

# Layers whose forward pass draws no random number and moves nothing on. Any other type is run again.
STATELESS = frozenset("""
    AbsVal Accuracy ArgMax BNLL BatchNorm BatchReindex Bias Clip Concat ContrastiveLoss Convolution Crop Deconvolution
    DepthwiseConv DepthwiseConvolution ConvolutionDepthwise ELU Eltwise Embed EuclideanLoss Exp Filter Flatten HingeLoss
    Im2col InfogainLoss InnerProduct Input LRN LSTM LSTMUnit Log MVN MultinomialLogisticLoss PReLU Parameter Pooling
    Power Quant RNN ReLU Reduction Reshape SPP Scale Sigmoid SigmoidCrossEntropyLoss Silence Slice Softmax
    SoftmaxWithLoss Split Swish TanH Threshold Tile
""".split())


def moving(net):
    """The indices of the layers to run again."""
    return [index for index, layer in enumerate(net.layers) if layer.type not in STATELESS]


def advance(net, layers, times):
    for _ in range(times):
        for index in layers:
            net._forward(index, index)
