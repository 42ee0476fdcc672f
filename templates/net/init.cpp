  if ({{ param }}.has_weight_quant_param()) {
    weight_quantizer_.reset(new WeightQuantizer<Dtype>(
        {{ param }}.weight_quant_param(), layers_, bottom_vecs_, top_vecs_));
  }
