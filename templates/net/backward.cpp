{{ indent }}if (weight_quantizer_) { weight_quantizer_->BeforeBackward(i); }
