#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

#include "caffe/util/batch_norm_folding.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

// A number in one of a layer's messages; otherwise, where it is not set. Trees
// that are older than an option compile, too.
static double Option(const LayerParameter& layer, const string& message_name,
    const string& name, double otherwise) {
  const google::protobuf::FieldDescriptor* message_field =
      layer.GetDescriptor()->FindFieldByName(message_name);
  if (message_field == NULL) {
    return otherwise;
  }
  const google::protobuf::Message& message =
      layer.GetReflection()->GetMessage(layer, message_field);
  const google::protobuf::Reflection* reflection = message.GetReflection();
  const google::protobuf::FieldDescriptor* field =
      message.GetDescriptor()->FindFieldByName(name);
  if (field == NULL || !reflection->HasField(message, field)) {
    return otherwise;
  }
  switch (field->cpp_type()) {
  case google::protobuf::FieldDescriptor::CPPTYPE_BOOL:
    return reflection->GetBool(message, field);
  case google::protobuf::FieldDescriptor::CPPTYPE_INT32:
    return reflection->GetInt32(message, field);
  case google::protobuf::FieldDescriptor::CPPTYPE_UINT32:
    return reflection->GetUInt32(message, field);
  case google::protobuf::FieldDescriptor::CPPTYPE_FLOAT:
    return reflection->GetFloat(message, field);
  default:
    return otherwise;
  }
}

template <typename Dtype>
BatchNormFolding<Dtype>::BatchNormFolding(int layer_id,
    const vector<shared_ptr<Layer<Dtype> > >& layers,
    const vector<vector<Blob<Dtype>*> >& bottom_vecs,
    const vector<vector<Blob<Dtype>*> >& top_vecs)
    : groups_(1), outer_(1), group_channels_(0), inner_(1), has_zero_(false) {
  if (bottom_vecs[layer_id].size() != 1 || top_vecs[layer_id].size() != 1 ||
      !ReadLayout(layers[layer_id].get())) {
    return;
  }
  vector<int> shape(1, groups_ * group_channels_);
  factor_.Reshape(shape);
  divisor_.Reshape(shape);
  zero_.Reshape(shape);
  // A blob has one reader: for more, the net has inserted a Split.
  const Blob<Dtype>* blob = top_vecs[layer_id][0];
  for (int i = layer_id + 1; i < layers.size(); ++i) {
    const vector<Blob<Dtype>*>& bottom = bottom_vecs[i];
    if (std::find(bottom.begin(), bottom.end(), blob) == bottom.end()) {
      continue;
    }
    if (bottom.size() != 1 || !Folds(layers[i].get())) {
      break;
    }
    folded_.push_back(layers[i]);
    blob = top_vecs[i][0];
  }
}

template <typename Dtype>
bool BatchNormFolding<Dtype>::ReadLayout(Layer<Dtype>* layer) {
  const LayerParameter& param = layer->layer_param();
  const Blob<Dtype>& weight = *layer->blobs()[0];
  if (weight.num_axes() < 2) {
    return false;
  }
  if (param.type() == "InnerProduct") {
    if (Option(param, "inner_product_param", "transpose", 0)) {
      outer_ = weight.shape(0);
      group_channels_ = weight.shape(1);
    } else {
      group_channels_ = weight.shape(0);
      inner_ = weight.count(1);
    }
    return Option(param, "inner_product_param", "axis", 1) == 1;
  }
  if (param.type() == "Deconvolution") {
    groups_ = param.convolution_param().group();
    outer_ = weight.shape(0) / groups_;
    group_channels_ = weight.shape(1);
    inner_ = weight.count(2);
  } else {
    group_channels_ = weight.shape(0);
    inner_ = weight.count(1);
  }
  return Option(param, "convolution_param", "axis", 1) == 1;
}

template <typename Dtype>
bool BatchNormFolding<Dtype>::Folds(Layer<Dtype>* layer) const {
  const LayerParameter& param = layer->layer_param();
  if (param.type() == "BatchNorm") {
    // In TEST a BatchNorm may be told to take each batch's own statistics.
    return layer->blobs().size() == 3 &&
        layer->blobs()[1]->count() == factor_.count() &&
        (param.phase() == TRAIN ||
            Option(param, "batch_norm_param", "use_global_stats", 1));
  }
  return param.type() == "Scale" &&
      layer->blobs()[0]->count() == factor_.count() &&
      Option(param, "scale_param", "axis", 1) == 1 &&
      Option(param, "scale_param", "num_axes", 1) == 1;
}

template <typename Dtype>
bool BatchNormFolding<Dtype>::Update() {
  vector<double> product(factor_.count(), 1.);
  for (int i = 0; i < folded_.size(); ++i) {
    const vector<shared_ptr<Blob<Dtype> > >& blobs = folded_[i]->blobs();
    const LayerParameter& param = folded_[i]->layer_param();
    if (param.type() == "Scale") {
      const Dtype* gamma = blobs[0]->cpu_data();
      for (int c = 0; c < product.size(); ++c) {
        product[c] *= gamma[c];
      }
      continue;
    }
    const double count = blobs[2]->cpu_data()[0];
    if (count == 0) {
      return false;
    }
    const double eps = Option(param, "batch_norm_param", "eps", 1e-5f);
    const double of_sums = 1. / count;
    const Dtype* sums = blobs[1]->cpu_data();
    for (int c = 0; c < product.size(); ++c) {
      product[c] *= 1. / std::sqrt(sums[c] * of_sums + eps);
    }
  }
  Dtype* factor = factor_.mutable_cpu_data();
  Dtype* divisor = divisor_.mutable_cpu_data();
  Dtype* zero = zero_.mutable_cpu_data();
  has_zero_ = false;
  for (int c = 0; c < product.size(); ++c) {
    factor[c] = product[c];
    if (!std::isfinite(factor[c])) {
      return false;
    }
    zero[c] = factor[c] == 0;
    divisor[c] = zero[c] ? Dtype(1) : factor[c];
    has_zero_ = has_zero_ || zero[c];
  }
  return true;
}

template <typename Dtype>
void BatchNormFolding<Dtype>::Expand(const Blob<Dtype>& channels) {
  switch (Caffe::mode()) {
  case Caffe::CPU: {
    const Dtype* values = channels.cpu_data();
    Dtype* data = expanded_.mutable_cpu_data();
    for (int g = 0; g < groups_; ++g, values += group_channels_) {
      for (int o = 0; o < outer_; ++o) {
        for (int c = 0; c < group_channels_; ++c, data += inner_) {
          caffe_set(inner_, values[c], data);
        }
      }
    }
    break;
  }
  case Caffe::GPU: {
#ifndef CPU_ONLY
    // Products with ones are exact.
    const int row = group_channels_ * inner_;
    if (ones_.count() == 0) {
      ones_.Reshape(vector<int>(1, std::max(outer_, inner_)));
      caffe_set(ones_.count(), Dtype(1), ones_.mutable_cpu_data());
      row_.Reshape(vector<int>(1, row));
    }
    for (int g = 0; g < groups_; ++g) {
      caffe_gpu_gemm<Dtype>(CblasNoTrans, CblasNoTrans, group_channels_,
          inner_, 1, Dtype(1), channels.gpu_data() + g * group_channels_,
          ones_.gpu_data(), Dtype(0), row_.mutable_gpu_data());
      caffe_gpu_gemm<Dtype>(CblasNoTrans, CblasNoTrans, outer_, row, 1,
          Dtype(1), ones_.gpu_data(), row_.gpu_data(), Dtype(0),
          expanded_.mutable_gpu_data() + g * outer_ * row);
    }
#else
    NO_GPU;
#endif
    break;
  }
  }
}

template <typename Dtype>
void BatchNormFolding<Dtype>::Fold(const Blob<Dtype>& weight,
    Blob<Dtype>* folded) {
  const int count = weight.count();
  expanded_.ReshapeLike(weight);
  Expand(factor_);
  switch (Caffe::mode()) {
  case Caffe::CPU:
    caffe_mul(count, weight.cpu_data(), expanded_.cpu_data(),
        folded->mutable_cpu_data());
    break;
  case Caffe::GPU:
#ifndef CPU_ONLY
    caffe_gpu_mul(count, weight.gpu_data(), expanded_.gpu_data(),
        folded->mutable_gpu_data());
#else
    NO_GPU;
#endif
    break;
  }
}

template <typename Dtype>
void BatchNormFolding<Dtype>::Unfold(const Blob<Dtype>& weight,
    Blob<Dtype>* folded) {
  const int count = weight.count();
  Expand(divisor_);
  switch (Caffe::mode()) {
  case Caffe::CPU:
    caffe_div(count, folded->cpu_data(), expanded_.cpu_data(),
        folded->mutable_cpu_data());
    if (has_zero_) {
      Expand(zero_);
      caffe_mul(count, weight.cpu_data(), expanded_.cpu_data(),
          expanded_.mutable_cpu_data());
      caffe_axpy(count, Dtype(1), expanded_.cpu_data(),
          folded->mutable_cpu_data());
    }
    break;
  case Caffe::GPU:
#ifndef CPU_ONLY
    caffe_gpu_div(count, folded->gpu_data(), expanded_.gpu_data(),
        folded->mutable_gpu_data());
    if (has_zero_) {
      Expand(zero_);
      caffe_gpu_mul(count, weight.gpu_data(), expanded_.gpu_data(),
          expanded_.mutable_gpu_data());
      caffe_gpu_axpy(count, Dtype(1), expanded_.gpu_data(),
          folded->mutable_gpu_data());
    }
#else
    NO_GPU;
#endif
    break;
  }
}

INSTANTIATE_CLASS(BatchNormFolding);

}  // namespace caffe
