#include <string>
#include <vector>

#include "caffe/util/math_functions.hpp"
#include "caffe/util/weight_quantizer.hpp"

#include "gfpq_ext.hpp"

namespace caffe {

const char* gfpqGetErrorString(int code) {
  switch (static_cast<unsigned int>(code)) {
  case GFPQ_SUCCESS:
    return "success";
  case GFPQ_ERR_GENERIC:
    return "internal error";
  case GFPQ_ERR_BAD_FORMAT:
    return "bad bit width or damaged range";
  case GFPQ_ERR_BAD_PARAMETERS:
    return "unknown mode, or a pointer that is null, misaligned or of the CPU "
        "or GPU that the call is not for";
  case GFPQ_ERR_OUT_OF_MEMORY:
    return "out of memory";
  case GFPQ_ERR_SHORT_BUFFER:
    return "buffer too short";
  case GFPQ_ERR_NOT_SUPPORT:
    return "no usable GPU or driver, or a library without GPU support";
  }
  return "unknown error";
}

// Types that the NNIE computes with weights, with names that forks use.
static bool HasNnieWeights(const string& type) {
  return type == "Convolution" || type == "Deconvolution" ||
      type == "InnerProduct" || type == "DepthwiseConv" ||
      type == "DepthwiseConvolution" || type == "DepthWiseConv" ||
      type == "DepthWiseConvolution" || type == "ConvolutionDepthwise" ||
      type == "ConvolutionDepthWise" || type == "ConvDepthwise";
}

static bool IsHighPrecision(const string& name) {
  const string suffix = "_hp";
  return name.size() >= suffix.size() &&
      name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0;
}

static unsigned int WeightBits(const LayerParameter& layer,
    const QuantParameter& net) {
  if (layer.type() == "Quant") {
    return 0;
  }
  if (layer.has_quant_param()) {
    const QuantParameter& own = layer.quant_param();
    if (!own.quant_en()) {
      return 0;
    }
    if (own.has_quant_bits()) {
      return own.quant_bits();
    }
  } else if (!HasNnieWeights(layer.type())) {
    return 0;
  }
  return IsHighPrecision(layer.name()) ? 16 : net.quant_bits();
}

static bool FoldsBatchNorm(const LayerParameter& layer,
    const QuantParameter& net) {
  return layer.quant_param().has_fold_batch_norm() ?
      layer.quant_param().fold_batch_norm() : net.fold_batch_norm();
}

template <typename Dtype>
WeightQuantizer<Dtype>::WeightQuantizer(const QuantParameter& param,
    const vector<shared_ptr<Layer<Dtype> > >& layers,
    const vector<vector<Blob<Dtype>*> >& bottom_vecs,
    const vector<vector<Blob<Dtype>*> >& top_vecs)
    : layers_(layers), states_(layers.size()) {
  if (!param.quant_en()) {
    return;
  }
  for (int i = 0; i < layers_.size(); ++i) {
    if (layers_[i]->blobs().size() == 0) {
      continue;
    }
    const LayerParameter& layer_param = layers_[i]->layer_param();
    const unsigned int bits = WeightBits(layer_param, param);
    if (bits == 0) {
      continue;
    }
    CHECK(bits == GFPQ_BIT_WIDTH_8BIT || bits == GFPQ_BIT_WIDTH_16BIT)
        << "Layer " << layer_param.name() << ": quant_bits of its weights is "
        << bits << ", and the NNIE computes in 8 or 16.";
    states_[i].bits = bits;
    states_[i].master.reset(new Blob<Dtype>());
    states_[i].quantized.reset(new Blob<Dtype>());
    LOG(INFO) << layer_param.name() << " sees its weights at " << bits
        << " bits";
    if (HasNnieWeights(layer_param.type()) &&
        FoldsBatchNorm(layer_param, param)) {
      shared_ptr<BatchNormFolding<Dtype> > folding(
          new BatchNormFolding<Dtype>(i, layers, bottom_vecs, top_vecs));
      if (folding->size() > 0) {
        states_[i].folding = folding;
        states_[i].folded.reset(new Blob<Dtype>());
        LOG(INFO) << layer_param.name() << " is quantized with "
            << folding->size() << " layers folded into it";
      }
    }
  }
}

template <typename Dtype>
void WeightQuantizer<Dtype>::Quantize(const Layer<Dtype>& layer,
    const Blob<Dtype>& master, unsigned int bits,
    Blob<Dtype>* quantized) const {
  const int count = master.count();
  int code = GFPQ_ERR_GENERIC;
  switch (Caffe::mode()) {
  case Caffe::CPU:
    code = GFPQ_QuantAndDeQuantTo(master.cpu_data(),
        quantized->mutable_cpu_data(), count, bits, NULL);
    break;
  case Caffe::GPU:
    code = GFPQ_QuantAndDeQuantTo_GPU(master.gpu_data(),
        quantized->mutable_gpu_data(), count, bits, NULL);
    break;
  }
  CHECK_EQ(code, GFPQ_SUCCESS)
      << "Layer " << layer.layer_param().name() << ": the quantizer refused "
      << "weights of shape " << master.shape_string() << " at " << bits
      << " bits with code 0x" << std::hex << static_cast<unsigned int>(code)
      << ": " << gfpqGetErrorString(code) << ".";
}

template <typename Dtype>
void WeightQuantizer<Dtype>::BeforeForward(int layer_id) {
  State& state = states_[layer_id];
  if (state.bits == 0) {
    return;
  }
  Blob<Dtype>* const weight = layers_[layer_id]->blobs()[0].get();
  state.master->ReshapeLike(*weight);
  state.quantized->ReshapeLike(*weight);
  state.master->ShareData(*weight);
  if (state.folding && state.folding->Update()) {
    state.folded->ReshapeLike(*weight);
    state.folding->Fold(*state.master, state.folded.get());
    Quantize(*layers_[layer_id], *state.folded, state.bits,
        state.quantized.get());
    state.folding->Unfold(*state.master, state.quantized.get());
  } else {
    Quantize(*layers_[layer_id], *state.master, state.bits,
        state.quantized.get());
  }
  weight->ShareData(*state.quantized);
}

template <typename Dtype>
void WeightQuantizer<Dtype>::BeforeBackward(int layer_id) {
  State& state = states_[layer_id];
  if (state.bits == 0) {
    return;
  }
  Blob<Dtype>* const weight = layers_[layer_id]->blobs()[0].get();
  state.master->ReshapeLike(*weight);
  state.master->ShareData(*weight);
  // Before the first Forward, or after a change of shape, there is no copy.
  if (state.quantized->shape() == weight->shape()) {
    weight->ShareData(*state.quantized);
  }
}

template <typename Dtype>
void WeightQuantizer<Dtype>::After(int layer_id) {
  State& state = states_[layer_id];
  if (state.bits != 0) {
    layers_[layer_id]->blobs()[0]->ShareData(*state.master);
  }
}

INSTANTIATE_CLASS(WeightQuantizer);

}  // namespace caffe
