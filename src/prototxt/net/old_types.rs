//! Layer types as old files write them: V1's enum names or their numbers, and V0's lower-case words.

/// Current Caffe's name of an old type, which is written as V1's name or number, or as V0's word.
pub(super) fn from_text(old: &[u8]) -> Option<&'static str> {
    let number = std::str::from_utf8(old).ok().and_then(|text| text.parse().ok());
    let is_old = |&&(_, v1, v0, _): &&Type| v1 == old || (!v0.is_empty() && v0 == old);
    number.and_then(from_number).or_else(|| TYPES.iter().find(is_old).map(|&(.., current)| current))
}

/// Current Caffe's name of the type that V1LayerParameter.LayerType gives this number.
pub(crate) fn from_number(number: u64) -> Option<&'static str> {
    TYPES.iter().find(|&&(known, ..)| known == number).map(|&(.., current)| current)
}

/// V1's number and name, V0's word (empty where V0 had none), and the current name, as Caffe's own upgrade maps them.
type Type = (u64, &'static [u8], &'static [u8], &'static str);

#[rustfmt::skip]
const TYPES: [Type; 39] = [
    (35, b"ABSVAL", b"", "AbsVal"),
    (1, b"ACCURACY", b"accuracy", "Accuracy"),
    (30, b"ARGMAX", b"", "ArgMax"),
    (2, b"BNLL", b"bnll", "BNLL"),
    (3, b"CONCAT", b"concat", "Concat"),
    (37, b"CONTRASTIVE_LOSS", b"", "ContrastiveLoss"),
    (4, b"CONVOLUTION", b"conv", "Convolution"),
    (5, b"DATA", b"data", "Data"),
    (39, b"DECONVOLUTION", b"", "Deconvolution"),
    (6, b"DROPOUT", b"dropout", "Dropout"),
    (32, b"DUMMY_DATA", b"", "DummyData"),
    (25, b"ELTWISE", b"", "Eltwise"),
    (7, b"EUCLIDEAN_LOSS", b"euclidean_loss", "EuclideanLoss"),
    (38, b"EXP", b"", "Exp"),
    (8, b"FLATTEN", b"flatten", "Flatten"),
    (9, b"HDF5_DATA", b"hdf5_data", "HDF5Data"),
    (10, b"HDF5_OUTPUT", b"hdf5_output", "HDF5Output"),
    (28, b"HINGE_LOSS", b"hinge_loss", "HingeLoss"),
    (11, b"IM2COL", b"im2col", "Im2col"),
    (12, b"IMAGE_DATA", b"images", "ImageData"),
    (13, b"INFOGAIN_LOSS", b"infogain_loss", "InfogainLoss"),
    (14, b"INNER_PRODUCT", b"innerproduct", "InnerProduct"),
    (15, b"LRN", b"lrn", "LRN"),
    (29, b"MEMORY_DATA", b"", "MemoryData"),
    (16, b"MULTINOMIAL_LOGISTIC_LOSS", b"multinomial_logistic_loss", "MultinomialLogisticLoss"),
    (34, b"MVN", b"", "MVN"),
    (17, b"POOLING", b"pool", "Pooling"),
    (26, b"POWER", b"", "Power"),
    (18, b"RELU", b"relu", "ReLU"),
    (19, b"SIGMOID", b"sigmoid", "Sigmoid"),
    (27, b"SIGMOID_CROSS_ENTROPY_LOSS", b"", "SigmoidCrossEntropyLoss"),
    (36, b"SILENCE", b"", "Silence"),
    (33, b"SLICE", b"", "Slice"),
    (20, b"SOFTMAX", b"softmax", "Softmax"),
    (21, b"SOFTMAX_LOSS", b"softmax_loss", "SoftmaxWithLoss"),
    (22, b"SPLIT", b"split", "Split"),
    (23, b"TANH", b"tanh", "TanH"),
    (31, b"THRESHOLD", b"", "Threshold"),
    (24, b"WINDOW_DATA", b"window_data", "WindowData"),
];
