// The kernels' arithmetic for a host compiler; tests/cuda/arithmetic.rs calls it.
#include "gfpq.cuh"

namespace {

template <typename T, typename F>
void Run(T* data, unsigned long long count, int delta) {
  using namespace gfpq;
  if (!IsInRange<F>(delta)) {
    for (u64 i = 0; i < count; ++i) {
      data[i] = QuantiseAtAnyDelta<T, F>(data[i], delta);
    }
    return;
  }
  const Limits<T> limits = LimitsOf<T, F>(delta);
  typename Bits<T>::Word mantissas[F::kSteps];
  for (int i = 0; i < F::kSteps; ++i) {
    mantissas[i] = F::Values(T())[i] << (8 * sizeof(T) - Bits<T>::kMantissa) >>
        (8 * sizeof(T) - Bits<T>::kMantissa);
  }
  for (u64 i = 0; i < count; ++i) {
    data[i] = Quantise<T, F>(data[i], limits, F::Corrections(T()), mantissas);
  }
}

template <typename T>
int Delta(T max, int bits) {
  return bits == 8 ? gfpq::DeltaOf<T, gfpq::Eight>(gfpq::Magnitude(max)) :
      gfpq::DeltaOf<T, gfpq::Sixteen>(gfpq::Magnitude(max));
}

}  // namespace

extern "C" {

void quantise_f32(float* data, unsigned long long count, int bits, int delta) {
  bits == 8 ? Run<float, gfpq::Eight>(data, count, delta) :
      Run<float, gfpq::Sixteen>(data, count, delta);
}

void quantise_f64(double* data, unsigned long long count, int bits,
    int delta) {
  bits == 8 ? Run<double, gfpq::Eight>(data, count, delta) :
      Run<double, gfpq::Sixteen>(data, count, delta);
}

int delta_f32(float max, int bits) { return Delta(max, bits); }

int delta_f64(double max, int bits) { return Delta(max, bits); }

}
