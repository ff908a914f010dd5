// The launches of qr (metal/qr.metal, metal/qr_blocked.metal).
#pragma once

#include <cstdint>
#include <vector>

#include "gpu/launch.h"

namespace metalfaiss::gpu {

// Input 0 of the plan: float32 matrices, strides in elements, of any sign. At most kMaxQrBatchDims batch dimensions
// that are not 1.
struct QrProblem {
  int64_t rows, columns;
  int64_t row_stride, column_stride;
  std::vector<int64_t> batch = {}, batch_strides = {};
};

inline constexpr int kMaxQrBatchDims = 6;

struct QrTuning {
  int simdgroups = 16;             // of a leaf: threads hold 32 to 64 values of it, so two leaves fill a core
  int64_t split_rows = 256;        // rows at least that a threadgroup sums over
  int64_t groups = 512;            // threadgroups wanted of a product: several for each core of a large GPU
  int64_t max_groups = 1LL << 30;  // of a launch
  bool cholesky = false;           // whether the Gram matrix is tried first: where the executor has_fast_float64()
};

// Output 0 = Q (batch, rows, k), output 1 = R (batch, k, columns), k = min(rows, columns), both row-contiguous, no size
// 0. Scratch: for k <= 64 less than half of A; beyond, less than three times A and 16 MB. With the Gram matrix 16 k^2
// numbers of eight bytes and 17 MB more for each matrix.
Plan plan_qr(const QrProblem& problem, const QrTuning& tuning = {});

}  // namespace metalfaiss::gpu
