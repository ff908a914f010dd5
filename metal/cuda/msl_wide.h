// What metal/include/wide.h describes: float64, and its products on tensor cores.
#pragma once

#include "msl_simd.h"

namespace metal {

typedef double Wide;

#define WIDE_EPSILON 1.1e-16f
#define WIDE_SHORTEST 0.0f
#define WIDE_LONGEST 3.4e38f

MSL_FN Wide wide(float x) {
  return double(x);
}
MSL_FN float narrow(Wide x) {
  return __double2float_rn(x);
}
MSL_FN Wide wide_fma(Wide a, Wide b, Wide c) {
  return __fma_rn(a, b, c);
}
MSL_FN Wide wide_product(Wide a, Wide b) {
  return __dmul_rn(a, b);
}
MSL_FN Wide wide_sum(Wide a, Wide b) {
  return __dadd_rn(a, b);
}
MSL_FN Wide wide_negative(Wide x) {
  return -x;
}
MSL_FN Wide wide_reciprocal(Wide x) {
  return __drcp_rn(x);
}
// By an iteration of third order from the 20 bits of an instruction; without the branches of ::rsqrt.
MSL_FN Wide wide_inverse_root(Wide x) {
  Wide root;
  asm("rsqrt.approx.ftz.f64 %0, %1;" : "=d"(root) : "d"(x));
  const Wide rest = __fma_rn(-x * root, root, 1.0);
  return __fma_rn(root * rest, __fma_rn(0.375, rest, 0.5), root);
}
MSL_FN bool wide_is_greater(Wide a, Wide b) {
  return a > b;
}

MSL_FN void wide_multiply_tiles(Wide* sum, const Wide* left, const Wide* right) {
#if __CUDA_ARCH__ >= 900
  asm("mma.sync.aligned.m16n8k8.row.col.f64.f64.f64.f64 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+d"(sum[0]), "+d"(sum[1]), "+d"(sum[2]), "+d"(sum[3])
      : "d"(left[0]), "d"(left[1]), "d"(left[2]), "d"(left[3]), "d"(right[0]), "d"(right[1]));
#else
#pragma unroll
  for (int i = 0; i < 4; i++) {
    asm("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
        : "+d"(sum[i % 2 * 2]), "+d"(sum[i % 2 * 2 + 1])
        : "d"(left[i]), "d"(right[i / 2]));
  }
#endif
}

}  // namespace metal
