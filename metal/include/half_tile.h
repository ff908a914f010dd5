// Products of 16-bit tiles, c (16, 8) += a (16, 16) b (16, 8) in float32, a by rows and b by columns: an instruction of
// NVIDIA's tensor cores, and lane by lane elsewhere. And copies into threadgroup memory that run while others work.
//
// Lane l holds two neighbours a word. Of a: rows l / 4 (words 0 and 2) and l / 4 + 8 (words 1 and 3), columns 2 (l % 4)
// (words 0 and 1) and 8 behind (2 and 3). Of b: column l / 4, rows 2 (l % 4) (word 0) and 8 behind (word 1). Of c:
// columns 2 (l % 4) and the next of rows l / 4 (elements 0 and 1) and l / 4 + 8 (2 and 3).
#pragma once

#ifndef __CUDACC__  // metal/cuda/msl_tensor.h has them

inline void load_tiles(threadgroup const half* x, thread uint* words) {
  // Lane 8 t + r has row r of tile t; lane l wants two elements of row l / 4 of each.
  uint4 row = *(threadgroup const uint4*)x;
  uint lane = simd_prefix_exclusive_sum(1u);
  for (uint t = 0u; t < 4u; t++) {
    uint4 other = simd_shuffle(row, ushort(8u * t + lane / 4u));
    words[t] = other[lane % 4u];
  }
}

// The same tiles, turned: lane l gets elements 2 (l % 4) and the next of column l / 4 of each.
inline void load_tiles_turned(threadgroup const half* x, thread uint* words) {
  uint4 row = *(threadgroup const uint4*)x;
  uint lane = simd_prefix_exclusive_sum(1u), column = lane / 4u;
  for (uint t = 0u; t < 4u; t++) {
    uint4 upper = simd_shuffle(row, ushort(8u * t + 2u * (lane % 4u)));
    uint4 lower = simd_shuffle(row, ushort(8u * t + 2u * (lane % 4u) + 1u));
    uint shift = column % 2u * 16u;
    words[t] = (upper[column / 2u] >> shift & 0xffffu) | (lower[column / 2u] >> shift & 0xffffu) << 16;
  }
}

inline void multiply_tiles(thread float* c, thread const uint* a, thread const uint* b) {
  uint lane = simd_prefix_exclusive_sum(1u), row = 4u * (lane / 4u), column = 8u * (lane % 4u);
  for (uint k = 0u; k < 8u; k++) {  // pairs of columns of a
    uint w = k / 4u, t = k % 4u;
    float2 upper = float2(as_type<half2>(simd_shuffle(a[2u * w], ushort(row + t))));
    float2 lower = float2(as_type<half2>(simd_shuffle(a[2u * w + 1u], ushort(row + t))));
    float2 left = float2(as_type<half2>(simd_shuffle(b[w], ushort(column + t))));
    float2 right = float2(as_type<half2>(simd_shuffle(b[w], ushort(column + 4u + t))));
    c[0] = fma(upper.y, left.y, fma(upper.x, left.x, c[0]));
    c[1] = fma(upper.y, right.y, fma(upper.x, right.x, c[1]));
    c[2] = fma(lower.y, left.y, fma(lower.x, left.x, c[2]));
    c[3] = fma(lower.y, right.y, fma(lower.x, right.x, c[3]));
  }
}

inline void copy_async(threadgroup uint4* to, device const uint4* from) {
  *to = *from;
}

inline void await_copies() {}

inline uint pack_halves(float low, float high) {
  return as_type<uint>(half2(float2(low, high)));
}

#endif
