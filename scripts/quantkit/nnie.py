"""Which Caffe layers the NNIE computes. The same list is in gfpq's prototxt module and in Caffe's WeightQuantizer."""

# Layer types that the NNIE computes with quantised data. The later ones are forks' names of a depthwise convolution.
COMPUTED = frozenset((
    "Convolution", "Deconvolution", "Pooling", "InnerProduct",
    "DepthwiseConv", "DepthwiseConvolution", "DepthWiseConv", "DepthWiseConvolution", "ConvolutionDepthwise",
    "ConvolutionDepthWise", "ConvDepthwise",
))

# Of these, the types with weights, which the NNIE quantises too.
WEIGHTED = COMPUTED - {"Pooling"}

# The NNIE compiler's mark: a layer whose name ends like this is computed in 16 bits.
HIGH_PRECISION = "_hp"
