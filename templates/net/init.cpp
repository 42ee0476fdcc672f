  if (in_param.has_weight_quant_param()) {
    weight_quantizer_.reset(new WeightQuantizer<Dtype>(
        in_param.weight_quant_param(), layers_));
  }
