// The launches of qr of one tall matrix through its Gram matrix (metal/qr_cholesky.metal).
#pragma once

#include <cstdint>

#include "gpu/launch.h"

namespace metalfaiss::gpu {

struct TallMatrix {
  Memory memory;
  int64_t rows, columns;
  int64_t row_stride, column_stride;
};

// Fastest where float64 is: elsewhere, and for what it does not take, Householder's method.
bool takes_cholesky(const TallMatrix& a);

// Adds launches that make Q (rows, columns), row-contiguous, and R, whose rows are r_stride apart. Returns a flag that
// is 1 where they could not. Scratch: 16 columns^2 numbers and less than 64 MB of sums.
Memory add_cholesky(Plan& plan, const TallMatrix& a, Memory q, Memory r, int64_t r_stride);

}  // namespace metalfaiss::gpu
