// Products of a tall matrix with a skinny one, for `batch` matrices.
#pragma once

#include "cpu/dispatch.h"
#include "cpu/matrix.h"

namespace metalfaiss::cpu {

struct GemmArgs {
  Matrix a, b;
  void* out;  // row-contiguous, of type out_type
  Float out_type;
};

METALFAISS_KERNEL(gemm_av, GemmArgs)    // out = a b
METALFAISS_KERNEL(gemm_at_b, GemmArgs)  // out = a^T b
METALFAISS_KERNEL(z_step, GemmArgs)     // out = a^T (a b)

}  // namespace metalfaiss::cpu
