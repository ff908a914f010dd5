// Numbers of twice a float32's precision: float64 where the GPU has it (metal/cuda/msl_wide.h), else pairs of float32.
#pragma once
#include <metal_stdlib>
using namespace metal;

#ifndef __CUDACC__
#include "double_float.h"

#define Wide float2  // the sum of both

#define WIDE_EPSILON 3e-14f  // what a sum of products is off by, relative to its terms
#define WIDE_SHORTEST 1e-9f  // the numbers whose squares keep their low parts
#define WIDE_LONGEST 1e18f

inline DoubleFloat double_float(Wide x) {
  DoubleFloat r;
  r.hi = x.x;
  r.lo = x.y;
  return r;
}

inline Wide wide(float x) {
  return float2(x, 0.0f);
}

inline Wide wide(DoubleFloat x) {
  return float2(x.hi, x.lo);
}

inline float narrow(Wide x) {
  return x.x + x.y;
}

// a b + c
inline Wide wide_fma(Wide a, Wide b, Wide c) {
  DoubleFloat product = two_product(a.x, b.x);
  product.lo = fma(a.x, b.y, fma(a.y, b.x, product.lo));
  return wide(normalised(accumulate(double_float(c), product)));
}

inline Wide wide_product(Wide a, Wide b) {
  return wide_fma(a, b, wide(0.0f));
}

inline Wide wide_sum(Wide a, Wide b) {
  return wide(normalised(accumulate(double_float(a), double_float(b))));
}

inline Wide wide_negative(Wide x) {
  return -x;
}

// Newton's method from the float32 quotient.
inline Wide wide_reciprocal(Wide x) {
  const Wide first = wide(1.0f / x.x);
  const Wide rest = wide_fma(-x, first, wide(1.0f));
  return wide_fma(first, rest, first);
}

// 1 / sqrt(x), the same way; twice, since the first guess may be a rough one.
inline Wide wide_inverse_root(Wide x) {
  Wide root = wide(rsqrt(x.x));
  for (int i = 0; i < 2; i++) {
    const Wide rest = wide_fma(-wide_product(x, root), root, wide(1.0f));
    root = wide_fma(wide_product(root, wide(0.5f)), rest, root);
  }
  return root;
}

inline bool wide_is_greater(Wide a, Wide b) {
  return a.x > b.x || (a.x == b.x && a.y > b.y);
}
#endif

// sum += left right, of 16 x 8 and 8 x 8 numbers. Lane l has, with g = l / 4 and t = l % 4, of the left (g, t),
// (g + 8, t), (g, t + 4), (g + 8, t + 4), of the right (t, g), (t + 4, g), and of the sum (g, 2 t), (g, 2 t + 1),
// (g + 8, 2 t), (g + 8, 2 t + 1).
inline void wide_multiply(thread Wide* sum, thread const Wide* left, thread const Wide* right) {
#ifdef __CUDACC__
  wide_multiply_tiles(sum, left, right);
#else
  const ushort lane = ushort(simd_prefix_exclusive_sum(1u)), g = lane / 4, t = lane % 4;
  for (ushort k = 0; k < 8; k++) {
    const ushort from_left = 4 * g + k % 4, from_right = k % 4;
    const Wide upper = simd_shuffle(left[k / 4 * 2], from_left), lower = simd_shuffle(left[k / 4 * 2 + 1], from_left);
    for (ushort i = 0; i < 2; i++) {
      const Wide x = simd_shuffle(right[k / 4], ushort(4 * (2 * t + i) + from_right));
      sum[i] = wide_fma(upper, x, sum[i]);
      sum[2 + i] = wide_fma(lower, x, sum[2 + i]);
    }
  }
#endif
}
