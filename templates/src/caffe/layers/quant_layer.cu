#include <vector>

#include "caffe/layers/quant_layer.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

template <typename Dtype>
void QuantLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top) {
  for (int i = 0; i < bottom.size(); ++i) {
    const int count = bottom[i]->count();
    Dtype* top_data = top[i]->mutable_gpu_data();
    if (bottom[i] != top[i]) {
      caffe_copy(count, bottom[i]->gpu_data(), top_data);
    }
    if (!enabled_) {
      continue;
    }
    if (!warned_nonfinite_) {
      Dtype asum;
      caffe_gpu_asum(count, top_data, &asum);
      if (IsSuspect(asum)) {
        WarnIfNonfinite(*top[i]);
        top_data = top[i]->mutable_gpu_data();
      }
    }
    GFPQ_PARAM_ST param = LoadRange(i);
    CheckCode(HI_GFPQ_QuantAndDeQuant_GPU(top_data, count, bits_, &param),
        *top[i]);
    StoreRange(i, param);
  }
}

template <typename Dtype>
void QuantLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom) {
  for (int i = 0; i < top.size(); ++i) {
    if (propagate_down[i] && bottom[i] != top[i]) {
      caffe_copy(top[i]->count(), top[i]->gpu_diff(),
          bottom[i]->mutable_gpu_diff());
    }
  }
}

INSTANTIATE_LAYER_GPU_FUNCS(QuantLayer);

}  // namespace caffe
