// Thin QR of one matrix.
#pragma once

#include "cpu/dispatch.h"
#include "cpu/matrix.h"

namespace metalfaiss::cpu {

// a: m x n, float32. q: m x k and r: k x n with k = min(m, n), row-contiguous, diagonal of r >= 0. Both are NaN where
// a's first k columns hold a NaN or an infinity.
struct QrArgs {
  Matrix a;
  float* q;
  float* r;
};

METALFAISS_KERNEL(qr, QrArgs)

}  // namespace metalfaiss::cpu
