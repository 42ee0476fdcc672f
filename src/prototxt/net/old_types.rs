//! Layer types as old files write them: V1's enum names, V0's lower-case words.

/// Today's name of an old type.
pub(super) fn today(old: &[u8]) -> Option<&'static str> {
    TYPES.iter().find(|(v1, v0, _)| *v1 == old || (!v0.is_empty() && *v0 == old)).map(|(_, _, today)| *today)
}

/// V1, V0 (empty where there was none), today: as Caffe's own upgrade maps them.
#[rustfmt::skip]
const TYPES: [(&[u8], &[u8], &str); 39] = [
    (b"ABSVAL", b"", "AbsVal"),
    (b"ACCURACY", b"accuracy", "Accuracy"),
    (b"ARGMAX", b"", "ArgMax"),
    (b"BNLL", b"bnll", "BNLL"),
    (b"CONCAT", b"concat", "Concat"),
    (b"CONTRASTIVE_LOSS", b"", "ContrastiveLoss"),
    (b"CONVOLUTION", b"conv", "Convolution"),
    (b"DATA", b"data", "Data"),
    (b"DECONVOLUTION", b"", "Deconvolution"),
    (b"DROPOUT", b"dropout", "Dropout"),
    (b"DUMMY_DATA", b"", "DummyData"),
    (b"ELTWISE", b"", "Eltwise"),
    (b"EUCLIDEAN_LOSS", b"euclidean_loss", "EuclideanLoss"),
    (b"EXP", b"", "Exp"),
    (b"FLATTEN", b"flatten", "Flatten"),
    (b"HDF5_DATA", b"hdf5_data", "HDF5Data"),
    (b"HDF5_OUTPUT", b"hdf5_output", "HDF5Output"),
    (b"HINGE_LOSS", b"hinge_loss", "HingeLoss"),
    (b"IM2COL", b"im2col", "Im2col"),
    (b"IMAGE_DATA", b"images", "ImageData"),
    (b"INFOGAIN_LOSS", b"infogain_loss", "InfogainLoss"),
    (b"INNER_PRODUCT", b"innerproduct", "InnerProduct"),
    (b"LRN", b"lrn", "LRN"),
    (b"MEMORY_DATA", b"", "MemoryData"),
    (b"MULTINOMIAL_LOGISTIC_LOSS", b"multinomial_logistic_loss", "MultinomialLogisticLoss"),
    (b"MVN", b"", "MVN"),
    (b"POOLING", b"pool", "Pooling"),
    (b"POWER", b"", "Power"),
    (b"RELU", b"relu", "ReLU"),
    (b"SIGMOID", b"sigmoid", "Sigmoid"),
    (b"SIGMOID_CROSS_ENTROPY_LOSS", b"", "SigmoidCrossEntropyLoss"),
    (b"SILENCE", b"", "Silence"),
    (b"SLICE", b"", "Slice"),
    (b"SOFTMAX", b"softmax", "Softmax"),
    (b"SOFTMAX_LOSS", b"softmax_loss", "SoftmaxWithLoss"),
    (b"SPLIT", b"split", "Split"),
    (b"TANH", b"tanh", "TanH"),
    (b"THRESHOLD", b"", "Threshold"),
    (b"WINDOW_DATA", b"window_data", "WindowData"),
];
