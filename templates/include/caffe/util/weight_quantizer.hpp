#ifndef CAFFE_UTIL_WEIGHT_QUANTIZER_HPP_
#define CAFFE_UTIL_WEIGHT_QUANTIZER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/common.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"
#include "caffe/util/batch_norm_folding.hpp"

namespace caffe {

/// @brief What a return code of the GFPQ library means.
const char* gfpqGetErrorString(int code);

/**
 * @brief Lets the layers that HiSilicon's NNIE computes see their weights
 *        quantized to GFPQ, while everything else sees the float masters.
 *
 * Around each layer's Forward and Backward, Net swaps the data of the layer's
 * weight blob for a quantized copy, and back again. The update, weight decay,
 * snapshots and the blob's readers between calls find the floats; steps smaller
 * than a code are thus not lost. Gradients are those at the quantized weights.
 *
 * Convolutions, deconvolutions and inner products take part with their weights,
 * not their biases, at the net's bit width, or at 16 bits where the layer's
 * name ends in "_hp", the NNIE compiler's mark. A layer's own quant_param says
 * otherwise: quant_en: 0 leaves its weights float, quant_bits: 16 gives it 16
 * bits, and a layer of another type takes part if it has one. With quant_en: 0
 * for the net, all weights stay float.
 *
 * With fold_batch_norm: 1, weights are quantized as the chip will have them,
 * with the BatchNorm and Scale layers behind them folded in, and the factor
 * taken out again: the layer computes with the error that the folded weights
 * will have, while BatchNorm and Scale stay float.
 */
template <typename Dtype>
class WeightQuantizer {
 public:
  WeightQuantizer(const QuantParameter& param,
      const vector<shared_ptr<Layer<Dtype> > >& layers,
      const vector<vector<Blob<Dtype>*> >& bottom_vecs,
      const vector<vector<Blob<Dtype>*> >& top_vecs);

  /// @brief Quantizes the layer's weights and shows them to it.
  void BeforeForward(int layer_id);
  /// @brief Shows the layer the weights its last Forward saw.
  void BeforeBackward(int layer_id);
  /// @brief Gives the layer its float weights back.
  void After(int layer_id);

 protected:
  /// What a layer needs; bits is 0 for one that does not take part.
  struct State {
    State() : bits(0) {}
    unsigned int bits;
    /// Holds the masters while the layer's blob shows the quantized weights.
    shared_ptr<Blob<Dtype> > master;
    shared_ptr<Blob<Dtype> > quantized;
    /// What folds into the weights; NULL where nothing does.
    shared_ptr<BatchNormFolding<Dtype> > folding;
    shared_ptr<Blob<Dtype> > folded;
  };

  void Quantize(const Layer<Dtype>& layer, const Blob<Dtype>& master,
      unsigned int bits, Blob<Dtype>* quantized) const;

  const vector<shared_ptr<Layer<Dtype> > > layers_;
  vector<State> states_;

DISABLE_COPY_AND_ASSIGN(WeightQuantizer);
};

}  // namespace caffe

#endif  // CAFFE_UTIL_WEIGHT_QUANTIZER_HPP_
