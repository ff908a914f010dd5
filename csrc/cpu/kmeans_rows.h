// Distances of single rows, float32.
#pragma once

#include "cpu/gemm_pack.h"
#include "cpu/simd.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

inline float squared_distance(const float* x, const float* y, int64_t d) {
  vf sums[4] = {};
  int64_t p = 0;
  for (; p + 4 * W <= d; p += 4 * W) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      vf difference = load(x + p + i * W) - load(y + p + i * W);
      sums[i] = fma(difference, difference, sums[i]);
    }
  }
  for (; p < d; p += W) {
    int lanes = lanes_left(d - p);
    vf difference = load_first(x + p, lanes) - load_first(y + p, lanes);
    sums[0] = fma(difference, difference, sums[0]);
  }
  return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
