// The launches of z_step on tensor cores (metal/z_step_half.metal where A is tall, metal/z_step_tensor.metal).
#pragma once

#include <optional>

#include "gpu/plans/gemm.h"

namespace metalfaiss::gpu {

struct ZStepTensorTuning {
  int64_t threadgroup_bytes;      // that the executor has
  int64_t multiprocessors = 132;  // an H200's
  int64_t small_groups = 32;      // slabs of a small product, which cost as much as their work
};

// Nothing beyond 512 columns of A and 32 of V, for other types than float32, for rows of A that are not aligned vectors
// of four, for batches, and where threadgroup memory does not hold it. Scratch: sums of slabs in float32, 8 MB on an
// H200.
std::optional<Plan> plan_z_step_tensor(const GemmProblem& problem, const ZStepTensorTuning& tuning);

}  // namespace metalfaiss::gpu
