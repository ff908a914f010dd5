// Distances and lengths of single rows, float32.
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

inline float squared_norm(const float* x, int64_t d) {
  vf sums[2] = {};
  int64_t p = 0;
  for (; p + 2 * W <= d; p += 2 * W) {
    vf a = load(x + p), b = load(x + p + W);
    sums[0] = fma(a, a, sums[0]);
    sums[1] = fma(b, b, sums[1]);
  }
  for (; p < d; p += W) {
    vf a = load_first(x + p, lanes_left(d - p));
    sums[0] = fma(a, a, sums[0]);
  }
  return sum(sums[0] + sums[1]);
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
