// The passes over a tensor: its range, and its values quantised and dequantised.
//
// src/cuda/kernels.rs names and launches what the last lines of this file
// instantiate. A block has kThreads threads; any number of blocks does.
#include "gfpq.cuh"

namespace gfpq {

const int kThreads = 256;
// Packs of 16 bytes that a thread has under way at once.
const int kUnroll = 2;

// What one pass leaves to the next in GPU memory. Zero before the first range
// pass; `largest` and `done` are zero again after each.
struct Scratch {
  u64 largest;
  u32 done;
  int delta;
};

// 16 bytes of values.
template <typename T>
struct alignas(16) Pack {
  static const int kValues = 16 / sizeof(T);
  T values[kValues];
};

// A tensor as tiles of whole packs, each a block's work, and the rest.
template <typename T>
struct Tiling {
  static const int kPacks = kThreads * kUnroll;
  // The first value of the first tile.
  u64 head;
  u64 tiles;
  u64 rest;

  GFPQ_DEVICE Tiling(const T* data, u64 count) {
    const u64 lead = (16 - reinterpret_cast<u64>(data) % 16) % 16;
    head = Min<u64>(lead / sizeof(T), count);
    tiles = (count - head) / (kPacks * Pack<T>::kValues);
    rest = count - tiles * kPacks * Pack<T>::kValues;
  }
  GFPQ_DEVICE void PutAllInRest() {
    rest += tiles * kPacks * Pack<T>::kValues;
    head = rest;
    tiles = 0;
  }
  // The thread's first pack of a tile; its others are kThreads apart.
  GFPQ_DEVICE u64 FirstPack(u64 tile) const {
    return tile * kPacks + threadIdx.x;
  }
  // Where the rest's value i is.
  GFPQ_DEVICE u64 Place(u64 i) const {
    return i < head ? i : i + tiles * kPacks * Pack<T>::kValues;
  }
};

// Reads a thread's packs of a tile, all before the first is worked on.
template <typename T>
GFPQ_DEVICE void Read(const Pack<T>* source, Pack<T>* packs) {
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    packs[i] = source[i * kThreads];
  }
  // Keeps the assembler from moving reads behind the work.
  __syncwarp();
}

GFPQ_DEVICE u64 Thread() {
  return static_cast<u64>(blockIdx.x) * kThreads + threadIdx.x;
}

GFPQ_DEVICE u64 Threads() {
  return static_cast<u64>(gridDim.x) * kThreads;
}

template <typename Word>
GFPQ_DEVICE Word WarpMax(Word value) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    value = Max(value, __shfl_xor_sync(0xffffffffu, value, lanes));
  }
  return value;
}

// The largest of all threads' words, in the block's first warp.
template <typename Word>
GFPQ_DEVICE Word BlockMax(Word value) {
  __shared__ Word warps[kThreads / 32];
  value = WarpMax(value);
  if (threadIdx.x % 32 == 0) {
    warps[threadIdx.x / 32] = value;
  }
  __syncthreads();
  if (threadIdx.x < 32) {
    value = threadIdx.x < kThreads / 32 ? warps[threadIdx.x] : 0;
    value = WarpMax(value);
  }
  return value;
}

// The magnitude, or 0 for NaN.
template <typename T>
GFPQ_DEVICE typename Bits<T>::Word Number(T x) {
  const typename Bits<T>::Word magnitude = Magnitude(x);
  return magnitude <= Bits<T>::Infinity() ? magnitude : 0;
}

// Finds the data's delta and leaves in scratch->delta the larger of it and the
// one before: `before`, and that of `range`, unless null, which is (bits, delta),
// set here, where bits is 0 for a range that has seen no data.
template <typename T, typename F>
GFPQ_DEVICE void RangePass(const T* source, u64 count, int before, T* range,
    Scratch* scratch) {
  const Tiling<T> tiling(source, count);
  const Pack<T>* const packs =
      reinterpret_cast<const Pack<T>*>(source + tiling.head);
  typename Bits<T>::Word largest = 0;
  for (u64 tile = blockIdx.x; tile < tiling.tiles; tile += gridDim.x) {
    Pack<T> held[kUnroll];
    Read(packs + tiling.FirstPack(tile), held);
#pragma unroll
    for (int i = 0; i < kUnroll * Pack<T>::kValues; ++i) {
      const T x = held[i / Pack<T>::kValues].values[i % Pack<T>::kValues];
      largest = Max(largest, Number(x));
    }
  }
  for (u64 i = Thread(); i < tiling.rest; i += Threads()) {
    largest = Max(largest, Number(source[tiling.Place(i)]));
  }
  const u64 block = BlockMax(largest);
  if (threadIdx.x != 0) {
    return;
  }
  if (block > 0) {
    atomicMax(&scratch->largest, block);
  }
  __threadfence();
  if (atomicAdd(&scratch->done, 1u) != gridDim.x - 1) {
    return;
  }
  // The last block to get here sees what all others have found.
  __threadfence();
  const u64 found = atomicExch(&scratch->largest, 0ull);
  scratch->done = 0;
  int delta = DeltaOf<T, F>(static_cast<typename Bits<T>::Word>(found));
  if (range != 0) {
    if (range[0] != 0) {
      delta = Max(delta, static_cast<int>(range[1]));
    }
    range[0] = F::kBits;
    range[1] = delta;
  }
  scratch->delta = Max(delta, before);
}

// What the threads of a block share in the apply pass.
template <typename T, typename F>
struct Shared {
  typename Bits<T>::Word corrections[2 * F::kSteps];
  typename Bits<T>::Word mantissas[F::kSteps];
  Limits<T> limits;
  int delta;
};

// Source and destination are the same, or do not overlap. The delta is that of
// `scratch`, unless null, else the one given.
// `nonfinite`, unless null, is set to 1 if the source has a NaN or infinity.
template <typename T, typename F>
GFPQ_DEVICE void ApplyPass(const T* source, T* destination, u64 count,
    int delta, const Scratch* scratch, u32* nonfinite) {
  typedef typename Bits<T>::Word Word;
  const Word mantissa = (static_cast<Word>(1) << Bits<T>::kMantissa) - 1;
  __shared__ Shared<T, F> shared;
  for (int i = threadIdx.x; i < 2 * F::kSteps; i += kThreads) {
    shared.corrections[i] = F::Corrections(T())[i];
  }
  for (int i = threadIdx.x; i < F::kSteps; i += kThreads) {
    shared.mantissas[i] = F::Values(T())[i] & mantissa;
  }
  if (threadIdx.x == 0) {
    shared.delta = scratch != 0 ? scratch->delta : delta;
    if (IsInRange<F>(shared.delta)) {
      shared.limits = LimitsOf<T, F>(shared.delta);
    }
  }
  __syncthreads();
  const bool is_in_range = IsInRange<F>(shared.delta);
  const Limits<T> limits = shared.limits;
  Tiling<T> tiling(source, count);
  if (!is_in_range || (reinterpret_cast<u64>(source) ^
      reinterpret_cast<u64>(destination)) % 16 != 0) {
    tiling.PutAllInRest();
  }
  bool found = false;
  for (u64 tile = blockIdx.x; tile < tiling.tiles; tile += gridDim.x) {
    // From the end, which a range pass has left in the cache.
    const u64 first = tiling.FirstPack(tiling.tiles - 1 - tile);
    Pack<T> held[kUnroll];
    Read(reinterpret_cast<const Pack<T>*>(source + tiling.head) + first, held);
    Pack<T>* const to =
        reinterpret_cast<Pack<T>*>(destination + tiling.head) + first;
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
#pragma unroll
      for (int j = 0; j < Pack<T>::kValues; ++j) {
        T* const x = &held[i].values[j];
        found |= Magnitude(*x) >= Bits<T>::Infinity();
        *x = Quantise<T, F>(*x, limits, shared.corrections, shared.mantissas);
      }
      to[i * kThreads] = held[i];
    }
  }
  for (u64 i = Thread(); i < tiling.rest; i += Threads()) {
    const u64 at = tiling.Place(i);
    const T x = source[at];
    found |= Magnitude(x) >= Bits<T>::Infinity();
    destination[at] = is_in_range ?
        Quantise<T, F>(x, limits, shared.corrections, shared.mantissas) :
        QuantiseAtAnyDelta<T, F>(x, shared.delta);
  }
  if (__syncthreads_or(found) && threadIdx.x == 0 && nonfinite != 0) {
    *nonfinite = 1;
  }
}

}  // namespace gfpq

#define GFPQ_KERNELS(name, T, F) \
  extern "C" __global__ void __launch_bounds__(gfpq::kThreads) \
  gfpq_range_##name(const T* source, gfpq::u64 count, int before, T* range, \
      gfpq::Scratch* scratch) { \
    gfpq::RangePass<T, gfpq::F>(source, count, before, range, scratch); \
  } \
  extern "C" __global__ void __launch_bounds__(gfpq::kThreads) \
  gfpq_apply_##name(const T* source, T* destination, gfpq::u64 count, \
      int delta, const gfpq::Scratch* scratch, gfpq::u32* nonfinite) { \
    gfpq::ApplyPass<T, gfpq::F>(source, destination, count, delta, scratch, \
        nonfinite); \
  }

GFPQ_KERNELS(float_8, float, Eight)
GFPQ_KERNELS(float_16, float, Sixteen)
GFPQ_KERNELS(double_8, double, Eight)
GFPQ_KERNELS(double_16, double, Sixteen)
