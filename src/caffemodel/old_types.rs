//! Layer types of V1 models, which number them.

/// Today's name of V1LayerParameter.LayerType's number; `NONE` for one that it has not.
pub(super) fn today(number: u64) -> &'static str {
    usize::try_from(number).ok().and_then(|number| TYPES.get(number)).copied().unwrap_or("NONE")
}

#[rustfmt::skip]
const TYPES: [&str; 40] = [
    "NONE", "Accuracy", "BNLL", "Concat", "Convolution", "Data", "Dropout", "EuclideanLoss", "Flatten", "HDF5Data",
    "HDF5Output", "Im2col", "ImageData", "InfogainLoss", "InnerProduct", "LRN", "MultinomialLogisticLoss", "Pooling",
    "ReLU", "Sigmoid", "Softmax", "SoftmaxWithLoss", "Split", "TanH", "WindowData", "Eltwise", "Power",
    "SigmoidCrossEntropyLoss", "HingeLoss", "MemoryData", "ArgMax", "Threshold", "DummyData", "Slice", "MVN", "AbsVal",
    "Silence", "ContrastiveLoss", "Exp", "Deconvolution",
];
