// Products of 16x8 and 8x8 tiles in registers, on an NVIDIA GPU by its tensor cores; copies that do not wait.
//
// Lane l has, with g = l / 4 and t = l % 4, of the left tile (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4), of the
// right one (t, g), (t + 4, g), and of the sum (g, 2 t), (g, 2 t + 1), (g + 8, 2 t), (g + 8, 2 t + 1).
//
// Tensor cores round operands to TF32, 11 bits, and sums towards zero. So a float32 number is taken as the sum of two
// of them, high and low, and three products are added: high high, high low and low high. What is left out is 2^-22 of
// the product at most. Chains of high high should be short, and the others have sums of their own.
#pragma once
#include <metal_stdlib>
using namespace metal;

// The nearest number of 11 bits. Infinite above FLT_MAX; a NaN may become a number, which x - tensor_high(x) is not.
inline float tensor_high(float x) {
  return as_type<float>((as_type<uint>(x) + 0x1000u) & 0xffffe000u);
}

// The same number, of which a compiler knows nothing: what is made of it in a loop is made there, each time, and does
// not stay in registers.
inline float tensor_opaque(float x) {
#ifdef __CUDACC__
  msl_opaque(x);
#endif
  return x;
}

// sum += left right, of operands that are numbers of 11 bits, or are cut to such.
inline void tensor_multiply(thread float* sum, thread const float* left, thread const float* right) {
#ifdef __CUDACC__
  msl_tensor_multiply(sum, left, right);
#else
  const ushort lane = ushort(simd_prefix_exclusive_sum(1u)), g = lane / 4, t = lane % 4;
  for (ushort k = 0; k < 8; k++) {
    const ushort from_left = 4 * g + k % 4, from_right = k % 4;
    const float upper = simd_shuffle(left[k / 4 * 2], from_left), lower = simd_shuffle(left[k / 4 * 2 + 1], from_left);
    for (ushort i = 0; i < 2; i++) {
      const float x = simd_shuffle(right[k / 4], ushort(4 * (2 * t + i) + from_right));
      sum[i] = fma(upper, x, sum[i]);
      sum[2 + i] = fma(lower, x, sum[2 + i]);
    }
  }
#endif
}

// Copies 16 bytes, or zeros. Where it does not wait, copy_wait() does.
inline void copy_later(threadgroup float* to, device const float* from, bool exists) {
#ifdef __CUDACC__
  msl_copy_later(to, from, exists);
#else
  *(threadgroup float4*)to = exists ? *(device const float4*)from : float4(0.0f);
#endif
}

// Ends a group of copies of this thread.
inline void copy_group() {
#ifdef __CUDACC__
  msl_copy_group();
#endif
}

// Waits for the copies of this simdgroup, but not for the last group where `but_one`.
inline void copy_wait(bool but_one) {
#ifdef __CUDACC__
  msl_copy_wait(but_one);
#else
  (void)but_one;
#endif
  simdgroup_barrier(mem_flags::mem_threadgroup);
}
