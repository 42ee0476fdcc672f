#ifndef CAFFE_QUANT_LAYER_HPP_
#define CAFFE_QUANT_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"
#include "caffe/syncedmem.hpp"

#include "gfpq.hpp"

namespace caffe {

/**
 * @brief Quantizes its input to the GFPQ numbers of HiSilicon's NNIE and
 *        dequantizes it again, so that the layers above see what the chip
 *        will see.
 *
 * With @f$ S @f$ steps per octave (16 for 8 bits, 128 for 16 bits), the largest
 * code @f$ K @f$ (127 or 1407) and the range's scale @f$ \delta @f$,
 * @f$
 *   y = \mathrm{sign}(x) \, 2^{q / S}, \quad
 *   q = \min(\max(\mathrm{round}(S \log_2 |x|), \delta), \delta + K)
 * @f$
 * and @f$ y = 0 @f$ where @f$ |x| @f$ is at most half the smallest magnitude
 * (negative magnitudes begin one step higher). The gradient is passed straight
 * through: @f$ \frac{\partial E}{\partial x} = \frac{\partial E}{\partial y} @f$.
 *
 * During training the layer widens its range to the largest magnitude it has
 * seen: the first batch sets the range, later ones can only raise it. During
 * testing the range is fixed; a net that never saw a range takes it from each
 * batch and warns once. The range is kept in the layer's blob, saved with the
 * model and never trained, with a row (bits, @f$ \delta @f$) for each bottom;
 * bits is 0 where no range has been seen.
 *
 * Bottoms and tops come in pairs, and each pair may be in place.
 */
template <typename Dtype>
class QuantLayer : public Layer<Dtype> {
 public:
  /**
   * @param param provides QuantParameter quant_param,
   *     with QuantLayer options:
   *   - quant_bits (\b optional, default 8). The bit width, 8 or 16.
   *   - quant_en (\b optional, default true). Whether to quantize; otherwise
   *     the data is passed through.
   */
  explicit QuantLayer(const LayerParameter& param)
      : Layer<Dtype>(param), warned_unseen_(false), warned_nonfinite_(false),
        looked_at_range_(false) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);

  virtual inline const char* type() const { return "Quant"; }
  virtual inline int MinBottomBlobs() const { return 1; }
  virtual inline int MinTopBlobs() const { return 1; }
  virtual inline bool EqualNumBottomTopBlobs() const { return true; }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom,
      const vector<Blob<Dtype>*>& top);
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top,
      const vector<bool>& propagate_down, const vector<Blob<Dtype>*>& bottom);

  /// Columns of the range blob.
  enum { RANGE_BITS = 0, RANGE_DELTA = 1, RANGE_COLUMNS = 2 };

  /// @brief The library's mode and parameter for the pair's next batch.
  GFPQ_PARAM_ST LoadRange(int pair);
  /// @brief Keeps the range that training has seen.
  void StoreRange(int pair, const GFPQ_PARAM_ST& param);
  /// @brief Whether to look for NaN and infinity, given the sum of magnitudes.
  bool IsSuspect(Dtype asum) const;
  /// @brief Warns, once in the layer's life, if blob has a NaN or infinity.
  void WarnIfNonfinite(const Blob<Dtype>& blob);
  /// @brief Warns, once in the layer's life, if the GPU has found one since.
  void WarnIfGpuFoundNonfinite();
  /// @brief Fails unless the library's return code is success.
  void CheckCode(int code, const Blob<Dtype>& blob) const;

  unsigned int bits_;
  bool enabled_;
  bool warned_unseen_;
  bool warned_nonfinite_;
  /// Whether training on the GPU has looked at the range that it began with.
  bool looked_at_range_;
  /// Pinned memory that the GPU sets to 1 when it finds a NaN or infinity.
  shared_ptr<unsigned int> gpu_found_nonfinite_;
};

}  // namespace caffe

#endif  // CAFFE_QUANT_LAYER_HPP_
