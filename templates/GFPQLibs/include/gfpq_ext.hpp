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

#endif  // GFPQ_EXT_HPP_
