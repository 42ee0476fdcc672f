#include <cmath>
#include <string>
#include <vector>

#include "caffe/layers/quant_layer.hpp"
#include "caffe/util/math_functions.hpp"
#include "caffe/util/weight_quantizer.hpp"

#include "gfpq_ext.hpp"

namespace caffe {

namespace {

const char kNonfinite[] = "a NaN becomes 0, an infinity the smallest "
    "magnitude, and the range its largest.";

void WriteWord(unsigned int word, unsigned char* bytes) {
  for (int i = 0; i < 4; ++i) {
    bytes[i] = (word >> (8 * i)) & 0xff;
  }
}

// The library's parameter is delta and three words that vouch for it.
void WriteDelta(int delta, unsigned char* buf) {
  const unsigned int n = ~static_cast<unsigned int>(delta);
  const unsigned int check = n << 27 | n << 21 | n << 11 | n << 3;
  const unsigned int masked = check ^ 0xa5a5a5a5u;
  WriteWord(check, buf);
  WriteWord(static_cast<unsigned int>(delta), buf + 4);
  WriteWord(masked, buf + 8);
  WriteWord(~masked, buf + 12);
}

int ReadDelta(const unsigned char* buf) {
  unsigned int delta = 0;
  for (int i = 0; i < 4; ++i) {
    delta |= static_cast<unsigned int>(buf[4 + i]) << (8 * i);
  }
  return static_cast<int>(delta);
}

}  // namespace

template <typename Dtype>
void QuantLayer<Dtype>::LayerSetUp(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top) {
  const QuantParameter& param = this->layer_param_.quant_param();
  bits_ = param.quant_bits();
  enabled_ = param.quant_en();
  CHECK(bits_ == GFPQ_BIT_WIDTH_8BIT || bits_ == GFPQ_BIT_WIDTH_16BIT)
      << "Layer " << this->layer_param_.name() << ": quant_bits is " << bits_
      << ", and the NNIE computes in 8 or 16.";
  if (this->blobs_.size() > 0) {
    LOG(INFO) << "Skipping parameter initialization";
  } else {
    vector<int> shape(2);
    shape[0] = bottom.size();
    shape[1] = RANGE_COLUMNS;
    this->blobs_.resize(1);
    this->blobs_[0].reset(new Blob<Dtype>(shape));
    caffe_set(this->blobs_[0]->count(), Dtype(0),
        this->blobs_[0]->mutable_cpu_data());
  }
  // Mask the range from optimization by setting its local learning rate and
  // weight decay to zero.
  if (this->layer_param_.param_size() == 0) {
    ParamSpec* fixed_param_spec = this->layer_param_.add_param();
    fixed_param_spec->set_lr_mult(0.f);
    fixed_param_spec->set_decay_mult(0.f);
  } else {
    const ParamSpec& param_spec = this->layer_param_.param(0);
    CHECK_EQ(param_spec.lr_mult(), 0.f)
        << "Layer " << this->layer_param_.name()
        << ": cannot train the quantization range.";
    this->layer_param_.mutable_param(0)->set_decay_mult(0.f);
  }
}

template <typename Dtype>
void QuantLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top) {
  for (int i = 0; i < bottom.size(); ++i) {
    if (bottom[i] != top[i]) {
      top[i]->ReshapeLike(*bottom[i]);
    }
  }
}

template <typename Dtype>
GFPQ_PARAM_ST QuantLayer<Dtype>::LoadRange(int pair) {
  const Dtype* range = this->blobs_[0]->cpu_data() + pair * RANGE_COLUMNS;
  GFPQ_PARAM_ST param = GFPQ_PARAM_ST();
  if (range[RANGE_BITS] == Dtype(0)) {
    if (this->phase_ == TEST && !warned_unseen_) {
      warned_unseen_ = true;
      LOG(WARNING) << "Layer " << this->layer_param_.name() << " has seen no "
          << "range in training: each batch is quantized by its own.";
    }
    param.mode = GFPQ_MODE_INIT;
    return param;
  }
  CHECK_EQ(range[RANGE_BITS], Dtype(bits_))
      << "Layer " << this->layer_param_.name() << ": the stored range is one "
      << "of " << range[RANGE_BITS] << " bits, and quant_bits is " << bits_
      << ". Train at " << bits_ << " bits from a model without this range, or "
      << "set quant_bits to " << range[RANGE_BITS] << ".";
  param.mode = this->phase_ == TRAIN ? GFPQ_MODE_UPDATE : GFPQ_MODE_APPLY_ONLY;
  WriteDelta(static_cast<int>(range[RANGE_DELTA]), param.buf);
  return param;
}

template <typename Dtype>
void QuantLayer<Dtype>::StoreRange(int pair, const GFPQ_PARAM_ST& param) {
  if (this->phase_ == TEST) {
    return;
  }
  Dtype* range = this->blobs_[0]->mutable_cpu_data() + pair * RANGE_COLUMNS;
  range[RANGE_BITS] = Dtype(bits_);
  range[RANGE_DELTA] = Dtype(ReadDelta(param.buf));
}

template <typename Dtype>
bool QuantLayer<Dtype>::IsSuspect(Dtype asum) const {
  // Not finite either where the sum of large finite values overflows.
  return !warned_nonfinite_ && !std::isfinite(asum);
}

template <typename Dtype>
void QuantLayer<Dtype>::WarnIfNonfinite(const Blob<Dtype>& blob) {
  const Dtype* data = blob.cpu_data();
  for (int i = 0; i < blob.count(); ++i) {
    if (!std::isfinite(data[i])) {
      warned_nonfinite_ = true;
      LOG(WARNING) << "Layer " << this->layer_param_.name() << " quantizes "
          << data[i] << ": " << kNonfinite;
      return;
    }
  }
}

template <typename Dtype>
void QuantLayer<Dtype>::WarnIfGpuFoundNonfinite() {
  const volatile unsigned int* found = gpu_found_nonfinite_.get();
  if (*found && !warned_nonfinite_) {
    warned_nonfinite_ = true;
    LOG(WARNING) << "Layer " << this->layer_param_.name() << " has quantized "
        << "a NaN or infinity: " << kNonfinite;
  }
}

template <typename Dtype>
void QuantLayer<Dtype>::CheckCode(int code, const Blob<Dtype>& blob) const {
  CHECK_EQ(code, GFPQ_SUCCESS)
      << "Layer " << this->layer_param_.name() << ": the quantizer refused a "
      << "blob of shape " << blob.shape_string() << " at " << bits_
      << " bits with code 0x" << std::hex << static_cast<unsigned int>(code)
      << ": " << gfpqGetErrorString(code) << ".";
}

template <typename Dtype>
void QuantLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top) {
  for (int i = 0; i < bottom.size(); ++i) {
    const int count = bottom[i]->count();
    const Dtype* bottom_data = bottom[i]->cpu_data();
    Dtype* top_data = top[i]->mutable_cpu_data();
    if (!enabled_) {
      caffe_copy(count, bottom_data, top_data);
      continue;
    }
    if (!warned_nonfinite_ && IsSuspect(caffe_cpu_asum(count, bottom_data))) {
      WarnIfNonfinite(*bottom[i]);
    }
    GFPQ_PARAM_ST param = LoadRange(i);
    CheckCode(GFPQ_QuantAndDeQuantTo(bottom_data, top_data, count, bits_,
        &param), *top[i]);
    StoreRange(i, param);
  }
}

template <typename Dtype>
void QuantLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
  for (int i = 0; i < top.size(); ++i) {
    if (propagate_down[i] && bottom[i] != top[i]) {
      caffe_copy(top[i]->count(), top[i]->cpu_diff(),
          bottom[i]->mutable_cpu_diff());
    }
  }
}

#ifdef CPU_ONLY
STUB_GPU(QuantLayer);
#endif

INSTANTIATE_CLASS(QuantLayer);
REGISTER_LAYER_CLASS(Quant);

}  // namespace caffe
