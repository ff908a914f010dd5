// Scores of vectors for queries, smaller being nearer: the squared distance, or minus the inner product.
#pragma once

#include "exact_score.h"
#include "knn_results.h"
#include "ordering.h"

// An approximate score is ranked by a bound that the exact one is not below. What float32 cannot bound comes first.
inline float bounded_below(float bound) {
  return bound >= -LARGEST ? bound : -LARGEST;  // also for NaN
}

struct ExactSums {
  DoubleFloat sum;
  float largest_q, largest_b;  // L2: of the differences, both
};

// The row of x times 2^shift_q and of b times 2^shift_b; L2: differences times 2^shift_q. All lanes get the result.
inline ExactSums exact_sums(device const float* q, device const T* b, long stride, int d, int shift_q, int shift_b,
                            uint lane) {
  ExactSums s;
  s.sum.hi = 0.0f;
  s.sum.lo = 0.0f;
  s.largest_q = 0.0f;
  s.largest_b = 0.0f;
  float scale_q = power_of_2(shift_q), scale_b = power_of_2(shift_b);
  for (int p = int(lane); p < d; p += 32) {
    float x = q[p], y = float(b[long(p) * stride]);
#if L2
    DoubleFloat difference = two_sum(x, -y);
    s.largest_q = max(s.largest_q, abs(difference.hi));
    difference.hi *= scale_q;
    difference.lo *= scale_q;
    s.sum = accumulate(s.sum, square(difference));
#else
    s.largest_q = max(s.largest_q, abs(x));
    s.largest_b = max(s.largest_b, abs(y));
    s.sum = accumulate(s.sum, two_product(x * scale_q, y * scale_b));
#endif
  }
  s.sum = simd_total(s.sum);
  s.largest_q = simd_max(s.largest_q);
  s.largest_b = L2 ? s.largest_q : simd_max(s.largest_b);
  return s;
}

// The key of the exact score of a row, by a simdgroup; q and b are the first elements.
inline ulong exact_score(device const float* q, device const T* b, long stride, int d, uint lane) {
  ExactSums s = exact_sums(q, b, stride, d, 0, 0, lane);
  int shift_q = 0, shift_b = 0;
  float range = s.largest_q * s.largest_b;
  // Products that may overflow, or lose their errors to underflow, are scaled: exactly, since by powers of two.
  if (is_finite(s.largest_q) && is_finite(s.largest_b) && !(range >= 1e-18f && range <= 1e30f)) {
    shift_q = clamp(-exponent_of(s.largest_q), -126, 126);
    shift_b = L2 ? shift_q : clamp(-exponent_of(s.largest_b), -126, 126);
    s = exact_sums(q, b, stride, d, shift_q, shift_b, lane);
  }
  if (!is_finite(s.sum.hi) || !is_finite(s.largest_q) || !is_finite(s.largest_b)) {
    return NO_SCORE;
  }
#if !L2
  s.sum.hi = -s.sum.hi;
  s.sum.lo = -s.sum.lo;
#endif
  return score_key(s.sum, -(shift_q + shift_b));
}
