#ifndef GFPQ_EXT_HPP_
#define GFPQ_EXT_HPP_

#include "gfpq.hpp"

// What this library has beyond the vendor's interface, for programs that are
// only meant to run with this one: the layers of a patched Caffe are.

// HI_GFPQ_QuantAndDeQuant from `source` into `destination`, of `count` values
// each and both in CPU memory, which are the same or do not overlap: a pass
// less than to copy first and to quantise then.
int GFPQ_QuantAndDeQuantTo(const float* source, float* destination,
    unsigned int count, unsigned int bits, GFPQ_PARAM_ST* param);
int GFPQ_QuantAndDeQuantTo(const double* source, double* destination,
    unsigned int count, unsigned int bits, GFPQ_PARAM_ST* param);

// The same in GPU memory, on `cuda_stream` (a cudaStream_t; NULL for the
// default stream). The parameter is in CPU memory: a call that writes it (modes
// INIT and UPDATE) waits for the GPU, and no other does.
//
// `nonfinite`, unless NULL, is set to 1 by the GPU if the source has a NaN or
// infinity. In pinned CPU memory (cudaMallocHost) it can be looked at later
// without waiting.
int GFPQ_QuantAndDeQuantTo_GPU(const float* source, float* destination,
    unsigned int count, unsigned int bits, GFPQ_PARAM_ST* param,
    unsigned int* nonfinite = 0, void* cuda_stream = 0);
int GFPQ_QuantAndDeQuantTo_GPU(const double* source, double* destination,
    unsigned int count, unsigned int bits, GFPQ_PARAM_ST* param,
    unsigned int* nonfinite = 0, void* cuda_stream = 0);

// The same in mode UPDATE, with a range that stays in GPU memory, so that the
// call never waits: `range` is (bits, delta), and bits is 0 before the first
// call, which takes its delta from the data alone.
int GFPQ_QuantAndDeQuantRange_GPU(const float* source, float* destination,
    unsigned int count, unsigned int bits, float* range,
    unsigned int* nonfinite = 0, void* cuda_stream = 0);
int GFPQ_QuantAndDeQuantRange_GPU(const double* source, double* destination,
    unsigned int count, unsigned int bits, double* range,
    unsigned int* nonfinite = 0, void* cuda_stream = 0);

#endif  // GFPQ_EXT_HPP_
