// The two passes over a tensor: the range pass finds its delta, and the apply
// pass quantises and dequantises its values.
//
// The last lines of this file instantiate the kernels that src/cuda/launch.rs
// launches. A block has kThreads threads; any number of blocks works.
#include "gfpq.cuh"

namespace gfpq {

const int kThreads = 256;
// The number of 16-byte packs that a thread reads before it works on them.
const int kUnroll = 2;

// What the range pass keeps in GPU memory and leaves to the apply pass. All zero
// before the first range pass; each range pass sets `largest` and `done` back to
// zero.
struct Scratch {
  // The largest magnitude that any block has found, as a bit pattern.
  u64 largest;
  // The number of blocks that are done.
  u32 done;
  // The scale for the apply pass.
  int delta;
};

// 16 bytes of values.
template <typename T>
struct alignas(16) Pack {
  static const int kValues = 16 / sizeof(T);
  T values[kValues];
};

// A tensor, split into tiles of aligned packs, which blocks work on one at a
// time, and the rest: the values before the first tile and after the last.
template <typename T>
struct Tiling {
  static const int kPacks = kThreads * kUnroll;
  // The number of values before the first tile.
  u64 head;
  // The number of tiles.
  u64 tiles;
  // The number of values outside the tiles.
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
  // The index of the thread's first pack in a tile; its other packs follow at
  // intervals of kThreads.
  GFPQ_DEVICE u64 FirstPack(u64 tile) const {
    return tile * kPacks + threadIdx.x;
  }
  // The index in the tensor of value i of the rest.
  GFPQ_DEVICE u64 Place(u64 i) const {
    return i < head ? i : i + tiles * kPacks * Pack<T>::kValues;
  }
};

// Reads all of a thread's packs of a tile.
template <typename T>
GFPQ_DEVICE void Read(const Pack<T>* source, Pack<T>* packs) {
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    packs[i] = source[i * kThreads];
  }
  // Keeps the assembler from moving reads behind the work on earlier packs.
  __syncwarp();
}

// The thread's index in the grid.
GFPQ_DEVICE u64 Thread() {
  return static_cast<u64>(blockIdx.x) * kThreads + threadIdx.x;
}

// The number of threads in the grid.
GFPQ_DEVICE u64 Threads() {
  return static_cast<u64>(gridDim.x) * kThreads;
}

// The largest of the warp's words, in all its threads.
template <typename Word>
GFPQ_DEVICE Word WarpMax(Word value) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    value = Max(value, __shfl_xor_sync(0xffffffffu, value, lanes));
  }
  return value;
}

// The largest of the block's words, in the threads of its first warp.
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

// The magnitude's bit pattern, or 0 for NaN.
template <typename T>
GFPQ_DEVICE typename Bits<T>::Word Number(T x) {
  const typename Bits<T>::Word magnitude = Magnitude(x);
  return magnitude <= Bits<T>::Infinity() ? magnitude : 0;
}

// Finds the data's delta, and leaves in scratch->delta the largest of it,
// `before` and the delta of `range`. `range` is null or (bits, delta), where bits
// is 0 as long as the range has seen no data; this call updates it.
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
  // This is the last block: it sees what all others have found.
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

// What the threads of a block share in the apply pass: copies of the tables in
// shared memory, and what depends on delta.
template <typename T, typename F>
struct Shared {
  typename Bits<T>::Word corrections[2 * F::kSteps];
  typename Bits<T>::Word mantissas[F::kSteps];
  Limits<T> limits;
  int delta;
};

// Quantises and dequantises. Source and destination are the same or do not
// overlap. The delta is that of `scratch`, or `delta` if `scratch` is null.
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
    // Backwards from the end, which a range pass has left in the cache.
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
