// Products of a tall matrix with a skinny one.
#pragma once

#include "ops/common.h"

namespace metalfaiss::ops {

// A V, for A (..., m, n) and V (..., n, k).
mx::array gemm_av(const mx::array& a, const mx::array& v, mx::StreamOrDevice s = {});

// A^T B, for A (..., m, n) and B (..., m, k).
mx::array gemm_at_b(const mx::array& a, const mx::array& b, mx::StreamOrDevice s = {});

// A^T (A V) in one pass over A, for A (..., m, n) and V (..., n, k).
mx::array z_step(const mx::array& a, const mx::array& v, mx::StreamOrDevice s = {});

}  // namespace metalfaiss::ops
