// Turning rows into columns in registers.
#pragma once

#include "cpu/simd.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

typedef float v4f __attribute__((vector_size(16)));

// Four elements from each of W / 4 rows, `step` rows apart.
METALFAISS_INLINE vf gather_fours(const float* const* rows, int64_t p, int step) {
  v4f a = load_as<v4f>(rows[0] + p);
#if defined(__AVX512F__)
  v4f b = load_as<v4f>(rows[step] + p), c = load_as<v4f>(rows[2 * step] + p), d = load_as<v4f>(rows[3 * step] + p);
  typedef float v8f __attribute__((vector_size(32)));
  v8f low = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
  v8f high = __builtin_shufflevector(c, d, 0, 1, 2, 3, 4, 5, 6, 7);
  return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#elif defined(__AVX2__)
  v4f b = load_as<v4f>(rows[step] + p);
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
#else
  (void)step;
  return a;
#endif
}

#if defined(__AVX512F__)
#define METALFAISS_SHUFFLE_FOURS(a, b, i, j, k, l)                                                                  \
  __builtin_shufflevector(a, b, i, j, k, l, i + 4, j + 4, k + 4, l + 4, i + 8, j + 8, k + 8, l + 8, i + 12, j + 12, \
                          k + 12, l + 12)
#elif defined(__AVX2__)
#define METALFAISS_SHUFFLE_FOURS(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l, i + 4, j + 4, k + 4, l + 4)
#else
#define METALFAISS_SHUFFLE_FOURS(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#endif

// Transposes every 4x4 block: lanes 4g..4g+3 of v[j] become lanes 4g + j of the four vectors.
METALFAISS_INLINE void transpose_fours(vf (&v)[4]) {
  vf low01 = METALFAISS_SHUFFLE_FOURS(v[0], v[1], 0, W + 0, 1, W + 1);
  vf high01 = METALFAISS_SHUFFLE_FOURS(v[0], v[1], 2, W + 2, 3, W + 3);
  vf low23 = METALFAISS_SHUFFLE_FOURS(v[2], v[3], 0, W + 0, 1, W + 1);
  vf high23 = METALFAISS_SHUFFLE_FOURS(v[2], v[3], 2, W + 2, 3, W + 3);
  v[0] = METALFAISS_SHUFFLE_FOURS(low01, low23, 0, 1, W + 0, W + 1);
  v[1] = METALFAISS_SHUFFLE_FOURS(low01, low23, 2, 3, W + 2, W + 3);
  v[2] = METALFAISS_SHUFFLE_FOURS(high01, high23, 0, 1, W + 0, W + 1);
  v[3] = METALFAISS_SHUFFLE_FOURS(high01, high23, 2, 3, W + 2, W + 3);
}

#undef METALFAISS_SHUFFLE_FOURS

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
