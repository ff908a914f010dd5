// Products of a tall matrix with a skinny one, for `batch` pairs of matrices.
#pragma once

#include "cpu/dispatch.h"
#include "cpu/matrix.h"

namespace metalfaiss::cpu {

struct GemmArgs {
  Matrix a, b;  // of the first pair
  void* out;    // row-contiguous, of type out_type; the products of the pairs follow each other
  Float out_type;
  int64_t batch = 1;
  const int64_t* a_offsets = nullptr;  // of each pair's matrix from the first one, in bytes; null for batch 1
  const int64_t* b_offsets = nullptr;
};

// Sums are float32, in an order that depends on the shapes alone: not on the number of threads. Scratch is below 4 MB a
// thread, and 16 MB for the call (z_step: more when 8 columns of A V take more).
METALFAISS_KERNEL(gemm_av, GemmArgs)    // out = a b
METALFAISS_KERNEL(gemm_at_b, GemmArgs)  // out = a^T b
METALFAISS_KERNEL(z_step, GemmArgs)     // out = a^T (a b)

}  // namespace metalfaiss::cpu
