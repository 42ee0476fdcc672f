#ifndef CAFFE_UTIL_BATCH_NORM_FOLDING_HPP_
#define CAFFE_UTIL_BATCH_NORM_FOLDING_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/common.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

namespace caffe {

/**
 * @brief What HiSilicon's NNIE compiler makes of a layer's weights: it folds
 *        the BatchNorm and Scale layers that follow into them, and they are
 *        quantized as the chip stores them.
 *
 * In TEST a BatchNorm multiplies each channel by
 * @f$ 1 / \sqrt{\sigma^2 + \epsilon} @f$ and a Scale by @f$ \gamma @f$; the
 * weights of that output channel times the product of all of these is what the
 * chip has. Layers fold where each is the only reader of the one before it.
 *
 * The weights are multiplied and divided by the same numbers of type Dtype, and
 * the quantization of what `gfpq model fold` writes is what is in between.
 */
template <typename Dtype>
class BatchNormFolding {
 public:
  /// @brief Finds what folds into a layer of the net, which must have weights.
  BatchNormFolding(int layer_id,
      const vector<shared_ptr<Layer<Dtype> > >& layers,
      const vector<vector<Blob<Dtype>*> >& bottom_vecs,
      const vector<vector<Blob<Dtype>*> >& top_vecs);

  /// @brief How many layers fold.
  inline int size() const { return folded_.size(); }
  /**
   * @brief Reads the layers' present statistics and factors. False where there
   *        is nothing to fold with: statistics before the first batch, or
   *        numbers that are not finite.
   */
  bool Update();
  /// @brief Gives folded the weights times the factors.
  void Fold(const Blob<Dtype>& weight, Blob<Dtype>* folded);
  /**
   * @brief Divides folded by the factors. A filter whose factor is 0 gets its
   *        weights as they are: any would do, and the Scale is to learn.
   */
  void Unfold(const Blob<Dtype>& weight, Blob<Dtype>* folded);

 protected:
  /// @brief Reads how the weights lie; false where channels are not axis 1.
  bool ReadLayout(Layer<Dtype>* layer);
  bool Folds(Layer<Dtype>* layer) const;
  /// @brief Gives each place of expanded_ its own channel's value.
  void Expand(const Blob<Dtype>& channels);

  vector<shared_ptr<Layer<Dtype> > > folded_;
  /// The weights are of the shape (groups, outer, channels in a group, inner).
  int groups_, outer_, group_channels_, inner_;
  /// For each output channel its factor, the same with 1 for 0, and whether it
  /// is 0.
  Blob<Dtype> factor_, divisor_, zero_;
  bool has_zero_;
  Blob<Dtype> expanded_;
  /// What the GPU expands with.
  Blob<Dtype> ones_, row_;

DISABLE_COPY_AND_ASSIGN(BatchNormFolding);
};

}  // namespace caffe

#endif  // CAFFE_UTIL_BATCH_NORM_FOLDING_HPP_
