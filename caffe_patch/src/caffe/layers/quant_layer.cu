#include <vector>

#include "caffe/layers/quant_layer.hpp"
#include "caffe/util/math_functions.hpp"

#include "gfpq_ext.hpp"

namespace caffe {

// A word that the GPU can write and the CPU look at without waiting. Not a
// SyncedMemory: Caffe has not always pinned those.
static shared_ptr<unsigned int> NewPinnedWord() {
  void* word = NULL;
  CUDA_CHECK(cudaHostAlloc(&word, sizeof(unsigned int),
      cudaHostAllocPortable));
  const shared_ptr<unsigned int> pinned(static_cast<unsigned int*>(word),
      cudaFreeHost);
  *pinned = 0;
  return pinned;
}

// Nothing here waits for the GPU, but that the range is looked at before the
// first batch, wherever it is: a solver for several GPUs has moved it to its
// own. Later it stays in GPU memory in training, to be looked at where the CPU
// has it, as after loading a model; in testing it is fixed.
template <typename Dtype>
void QuantLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top) {
  Blob<Dtype>* const range = this->blobs_[0].get();
  if (enabled_) {
    if (!gpu_found_nonfinite_) {
      gpu_found_nonfinite_ = NewPinnedWord();
    }
    WarnIfGpuFoundNonfinite();
  }
  if (enabled_ && this->phase_ == TRAIN && (!looked_at_range_ ||
      range->data()->head() != SyncedMemory::HEAD_AT_GPU)) {
    for (int i = 0; i < bottom.size(); ++i) {
      LoadRange(i);
    }
    looked_at_range_ = true;
  }
  for (int i = 0; i < bottom.size(); ++i) {
    const int count = bottom[i]->count();
    const Dtype* bottom_data = bottom[i]->gpu_data();
    Dtype* top_data = top[i]->mutable_gpu_data();
    if (!enabled_) {
      caffe_copy(count, bottom_data, top_data);
      continue;
    }
    unsigned int* nonfinite = gpu_found_nonfinite_.get();
    if (this->phase_ == TRAIN) {
      CheckCode(GFPQ_QuantAndDeQuantRange_GPU(bottom_data, top_data, count,
          bits_, range->mutable_gpu_data() + i * RANGE_COLUMNS, nonfinite),
          *top[i]);
    } else {
      GFPQ_PARAM_ST param = LoadRange(i);
      // A batch's own range is not kept, and not waited for.
      CheckCode(GFPQ_QuantAndDeQuantTo_GPU(bottom_data, top_data, count, bits_,
          param.mode == GFPQ_MODE_INIT ? NULL : &param, nonfinite), *top[i]);
    }
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
