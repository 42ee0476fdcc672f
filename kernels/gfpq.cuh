// The quantiser's arithmetic for one value, for nvcc, NVRTC and any C++11 host
// compiler. The same integer tables decide as on the CPU. They are in
// gfpq_tables.cuh, which src/cuda/source.rs generates from src/quant/format.rs;
// src/quant/arch/mod.rs follows an example through them.
#ifndef GFPQ_CUH_
#define GFPQ_CUH_

#ifdef __CUDACC__
#define GFPQ_DEVICE __device__ __forceinline__
#define GFPQ_TABLE __device__ const
#else
#include <math.h>
#include <string.h>
#define GFPQ_DEVICE inline
#define GFPQ_TABLE static const
#endif

#include "gfpq_tables.cuh"

namespace gfpq {

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// The bit patterns of float or double.
template <typename T> struct Bits;

template <> struct Bits<float> {
  typedef u32 Word;
  static const int kMantissa = 23;
  GFPQ_DEVICE static Word Infinity() { return 0x7f800000u; }
  // 1e-6, which stands for the range of a tensor of zeros.
  GFPQ_DEVICE static Word Floor() { return 0x358637bdu; }
  GFPQ_DEVICE static Word Of(float x) {
#ifdef __CUDACC__
    return __float_as_uint(x);
#else
    Word bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
#endif
  }
  GFPQ_DEVICE static float From(Word bits) {
#ifdef __CUDACC__
    return __uint_as_float(bits);
#else
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
#endif
  }
};

template <> struct Bits<double> {
  typedef u64 Word;
  static const int kMantissa = 52;
  GFPQ_DEVICE static Word Infinity() { return 0x7ff0000000000000ull; }
  GFPQ_DEVICE static Word Floor() { return 0x3eb0c6f7a0b5ed8dull; }
  GFPQ_DEVICE static Word Of(double x) {
#ifdef __CUDACC__
    return static_cast<Word>(__double_as_longlong(x));
#else
    Word bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
#endif
  }
  GFPQ_DEVICE static double From(Word bits) {
#ifdef __CUDACC__
    return __longlong_as_double(static_cast<i64>(bits));
#else
    double x;
    memcpy(&x, &bits, sizeof(x));
    return x;
#endif
  }
};

template <typename T>
GFPQ_DEVICE typename Bits<T>::Word Magnitude(T x) {
  typedef typename Bits<T>::Word Word;
  return Bits<T>::Of(x) & (~static_cast<Word>(0) >> 1);
}

template <typename Word>
GFPQ_DEVICE Word Max(Word a, Word b) {
  return a > b ? a : b;
}

template <typename Word>
GFPQ_DEVICE Word Min(Word a, Word b) {
  return a < b ? a : b;
}

template <typename F>
GFPQ_DEVICE bool IsInRange(int delta) {
  return -F::kDeltaLimit <= delta && delta <= F::kDeltaLimit;
}

// The bit pattern of 2^(q / S) in T, for a q whose value is a normal number.
template <typename T, typename F>
GFPQ_DEVICE typename Bits<T>::Word Value(int q) {
  typedef typename Bits<T>::Word Word;
  const Word octave = static_cast<Word>(q >> F::kStepsLog2);
  return F::Values(T())[q & (F::kSteps - 1)] + (octave << Bits<T>::kMantissa);
}

// Limits of magnitudes at one delta of the format's own range, as bit patterns.
// Pairs are indexed by the value's sign bit, because negative magnitudes begin
// one step higher.
template <typename T>
struct Limits {
  typedef typename Bits<T>::Word Word;
  // Magnitudes up to and including this one become zero.
  Word flush[2];
  // All others are clamped to lowest ... highest; both are representable.
  Word lowest[2];
  Word highest;
};

// The largest float32 that is at most half of 2^(q / S). Half of a value of the
// format is exactly the value one octave lower.
template <typename F>
GFPQ_DEVICE u32 Flush(float, int q) {
  const u32 nearest = Value<float, F>(q - F::kSteps);
  const int j = q & (F::kSteps - 1);
  const u64 rounded = static_cast<u64>(F::Values(0.f)[j] & 0x7fffffu) << 29;
  return nearest - (rounded > (F::Values(0.0)[j] & 0xfffffffffffffull));
}

template <typename F>
GFPQ_DEVICE u64 Flush(double, int q) {
  return Value<double, F>(q - F::kSteps);
}

template <typename T, typename F>
GFPQ_DEVICE Limits<T> LimitsOf(int delta) {
  Limits<T> limits;
  for (int sign = 0; sign < 2; ++sign) {
    limits.flush[sign] = Flush<F>(T(), delta + sign);
    limits.lowest[sign] = Value<T, F>(delta + sign);
  }
  limits.highest = Value<T, F>(delta + F::kMaxCode);
  return limits;
}

// Octave and step of a magnitude in one word: the upper bits after correction.
template <typename F>
GFPQ_DEVICE u32 Steps(float, u32 magnitude, const u32* corrections) {
  const u32 cell =
      magnitude >> (22 - F::kStepsLog2) & (2 * F::kSteps - 1);
  return (magnitude + corrections[cell]) >> (23 - F::kStepsLog2);
}

// A magnitude plus its cell's correction.
template <typename F>
GFPQ_DEVICE u64 Corrected(u64 magnitude, const u64* corrections) {
  const u32 cell = static_cast<u32>(magnitude >> (51 - F::kStepsLog2)) &
      (2 * F::kSteps - 1);
  return magnitude + corrections[cell];
}

// round(log2(x) S), computed as in the format's definition.
template <typename F>
GFPQ_DEVICE int RoundedSteps(double x) {
  return static_cast<int>(round(log2(x) * F::kSteps));
}

// The same for float64. Close to a threshold the rounded log2 decides.
template <typename F>
GFPQ_DEVICE u32 Steps(double, u64 magnitude, const u64* corrections) {
  const u64 sum = Corrected<F>(magnitude, corrections);
  const int step_bits = 52 - F::kStepsLog2;
  const u64 part = (sum + kAmbiguous - 1) & ((1ull << step_bits) - 1);
  if (part < 2 * kAmbiguous - 1) {
    return static_cast<u32>(RoundedSteps<F>(Bits<double>::From(magnitude)) +
        (1023 << F::kStepsLog2));
  }
  return static_cast<u32>(sum >> step_bits);
}

// round(log2(x) S) for any positive number. No float32 is so close to a threshold
// that the rounded log2 must decide.
template <typename F>
GFPQ_DEVICE int NearestStep(float x) {
  const u64 sum =
      Corrected<F>(Bits<double>::Of(x), F::Corrections(0.0));
  return static_cast<int>(sum >> (52 - F::kStepsLog2)) -
      (1023 << F::kStepsLog2);
}

template <typename F>
GFPQ_DEVICE int NearestStep(double x) {
  return RoundedSteps<F>(x);
}

// Quantises and dequantises one value. `corrections` is F::Corrections, and
// `mantissas` is F::Values without the exponents.
template <typename T, typename F>
GFPQ_DEVICE T Quantise(T x, const Limits<T>& limits,
    const typename Bits<T>::Word* corrections,
    const typename Bits<T>::Word* mantissas) {
  typedef typename Bits<T>::Word Word;
  const Word bits = Bits<T>::Of(x);
  const Word magnitude = Magnitude(x);
  const Word sign = bits - magnitude;
  const Word flush = sign ? limits.flush[1] : limits.flush[0];
  const Word lowest = sign ? limits.lowest[1] : limits.lowest[0];
  // An infinity becomes the smallest magnitude, as in the vendor's library.
  Word held = magnitude == Bits<T>::Infinity() ? 0 : magnitude;
  held = Max(Min(held, limits.highest), lowest);
  const u32 steps = Steps<F>(T(), held, corrections);
  const Word octave = static_cast<Word>(steps >> F::kStepsLog2);
  const Word value = sign | octave << Bits<T>::kMantissa |
      mantissas[steps & (F::kSteps - 1)];
  const bool is_zero = magnitude <= flush || magnitude > Bits<T>::Infinity();
  return Bits<T>::From(is_zero ? 0 : value);
}

// 2^(q / S) for any q: 0 below the range of double and infinity above.
template <typename F>
GFPQ_DEVICE double AnyValue(i64 q) {
  const i64 octave = q >> F::kStepsLog2;
  if (octave > 1023) {
    return Bits<double>::From(Bits<double>::Infinity());
  }
  if (octave < -1100) {
    return 0;
  }
  const int down = octave < -1022 ? 200 : 0;
  const double scale = down ? Bits<double>::From(823ull << 52) : 1;
  const int near = static_cast<int>(q) + down * F::kSteps;
  return Bits<double>::From(Value<double, F>(near)) * scale;
}

// Quantises and dequantises one value at any delta, by the format's definition.
// Only a caller's parameter can bring a delta outside the format's range.
template <typename T, typename F>
GFPQ_DEVICE T QuantiseAtAnyDelta(T x, int delta) {
  const T magnitude = Bits<T>::From(Magnitude(x));
  const bool is_negative = x < 0;
  const i64 lowest = static_cast<i64>(delta) + is_negative;
  const i64 highest = static_cast<i64>(delta) + F::kMaxCode;
  // Negated so that NaN becomes 0, too.
  if (!(magnitude > AnyValue<F>(lowest) / 2)) {
    return 0;
  }
  i64 q = lowest;
  if (Magnitude(x) != Bits<T>::Infinity()) {
    q = Max(Min<i64>(NearestStep<F>(magnitude), highest), lowest);
  }
  const double value = AnyValue<F>(q);
  return static_cast<T>(is_negative ? -value : value);
}

// Whether the rounded log2 might lie on the other side of a step's value.
GFPQ_DEVICE bool IsAmbiguous(float, u64, u64, u64) { return false; }
GFPQ_DEVICE bool IsAmbiguous(double, u64 mantissa, u64 below, u64 above) {
  return mantissa - below < kAmbiguous || above - mantissa < kAmbiguous;
}

// The delta of data whose largest magnitude is `max`, ignoring NaN:
// floor(log2(max) S) - K, clamped to the format's range.
template <typename T, typename F>
GFPQ_DEVICE int DeltaOf(typename Bits<T>::Word max) {
  if (max == Bits<T>::Infinity()) {
    return F::kDeltaLimit;
  }
  const double x = Bits<T>::From(max == 0 ? Bits<T>::Floor() : max);
  const u64 bits = Bits<double>::Of(x);
  const u64 mantissa = bits & 0xfffffffffffffull;
  // Binary search for the last step whose value is not above x.
  int j = 0;
  for (int half = F::kSteps / 2; half > 0; half /= 2) {
    if ((F::Values(0.0)[j + half] & 0xfffffffffffffull) <= mantissa) {
      j += half;
    }
  }
  int top = (static_cast<int>(bits >> 52) - 1023) * F::kSteps + j;
  const u64 below = F::Values(0.0)[j] & 0xfffffffffffffull;
  const u64 above = j + 1 < F::kSteps ?
      F::Values(0.0)[j + 1] & 0xfffffffffffffull : 1ull << 52;
  // Not for a power of two, whose log2 is exact, nor for a subnormal number,
  // whose log2 is far below the format's range.
  if (mantissa != 0 && bits >> 52 != 0 &&
      IsAmbiguous(T(), mantissa, below, above)) {
    top = static_cast<int>(floor(log2(x) * F::kSteps));
  }
  return Max<int>(Min<int>(top - F::kMaxCode, F::kDeltaLimit), -F::kDeltaLimit);
}

}  // namespace gfpq

#endif  // GFPQ_CUH_
