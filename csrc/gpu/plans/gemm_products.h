// gemm_av, gemm_at_b and z_step by an executor's own matrix product, where that is faster than the project's kernels.
#pragma once

#include <optional>

#include "gpu/plans/gemm.h"

namespace metalfaiss::gpu {

struct GemmProducts {
  int64_t fewest = 1 << 20;   // multiply-adds: less are one launch of a kernel
  int64_t batches = 16;       // matrices at most, since each is a product of its own
  int64_t scratch = 1 << 30;  // bytes of A V at most, where it is not the result
};

// Nothing for other types than float32, for strides that a product does not have, and beyond those limits. Products of
// float32, not of TF32.
std::optional<Plan> plan_gemm_products(const GemmProblem& problem, const GemmProducts& limits = {});

}  // namespace metalfaiss::gpu
