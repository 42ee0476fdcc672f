  /// Shows layers quantized weights; NULL unless the net asks for it.
  shared_ptr<WeightQuantizer<Dtype> > weight_quantizer_;

