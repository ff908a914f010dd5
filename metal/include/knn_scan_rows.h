// Rows of a scan as its simdgroups hold them: 16-bit floats for products, and what scores and filters need beside.
#pragma once

#include "half_tile.h"
#include "knn_filter.h"

#define BLOCKS (DIM <= 128 ? 2 : 1)  // of 16 rows of a simdgroup
#define SIMD_ROWS (16u * BLOCKS)
#define LANE_ROWS (2 * BLOCKS)  // of which a lane has a quarter
#define STEPS (DIM / 16)

// The column of a row that stands at position i of those a lane multiplies: a lane has four neighbours, or twice four,
// of every row, and what the tiles call columns 2 (l % 4), the next, and 8 behind are these.
inline int column_at(int i) {
#if VECTORS == 2
  return i / 32 * 32 + i % 8 / 2 * 8 + i / 16 % 2 * 4 + i / 8 % 2 * 2 + i % 2;
#else
  return i / 16 * 16 + i % 8 / 2 * 4 + i / 8 % 2 * 2 + i % 2;
#endif
}

// Of a row in threadgroup memory.
struct RowTerms {
  float of_norm, of_scale;  // of the filter
  float norm;               // as of a query
  float scale;
};

inline RowTerms row_terms(float square_sum, int shift, bool valid, constant KnnScanParams& p) {
  RowTerms t;
  t.norm = !valid ? as_type<float>(0x7fc00000u) : L2 != 0 ? square_sum : sqrt(square_sum + p.absolute);
  t.scale = power_of_2(-shift);
  float inverse = power_of_2(shift) * (L2 != 0 ? 0.5f : 1.0f);
  t.of_norm = (L2 != 0 ? t.norm * (1.0f - slack_of(p)) : t.norm) * inverse;
  t.of_scale = inverse;
  if (!(square_sum <= LARGEST)) {  // the bound decides
    t.of_norm = as_type<float>(0x7fc00000u);
  }
  if (!valid) {
    t.of_norm = L2 != 0 ? INFINITY : -INFINITY;  // never passes
  }
  return t;
}

// The lane's columns of a row, four a step: 0 behind the last.
inline void load_steps(device const T* row, thread float4* value, uint lane, constant KnnScanParams& p) {
#pragma unroll
  for (int s = 0; s < STEPS; s++) {
    value[s] = load_columns(row, column_at(16 * s + 2 * int(lane % 4u)), p);
  }
}

inline void load_center(device const float* center, thread float4* value, uint lane, constant KnnScanParams& p) {
#pragma unroll
  for (int s = 0; s < STEPS; s++) {
    int c = column_at(16 * s + 2 * int(lane % 4u));
#if VECTORS
    value[s] = c < p.d ? *(device const float4*)(center + c) : float4(0.0f);
#else
    value[s] = float4(c < p.d ? center[c] : 0.0f, c + 1 < p.d ? center[c + 1] : 0.0f,
                      c + 2 < p.d ? center[c + 2] : 0.0f, c + 3 < p.d ? center[c + 3] : 0.0f);
#endif
  }
}

// Of a row whose squares, but for what underflowed, sum to square_sum: brings sqrt(square_sum + absolute), which no
// element exceeds, to [2^14, 2^15).
inline int shift_of_norm(float square_sum, constant KnnScanParams& p) {
  return 14 - (exponent_of(square_sum + p.absolute) >> 1);
}

// Whether a row has an element that is not finite. By the four lanes of each row.
inline bool has_infinite(device const T* row, uint lane, constant KnnScanParams& p) {
  uint infinite = 0u;
  for (int s = 0; s < STEPS; s++) {
    float4 x = load_columns(row, column_at(16 * s + 2 * int(lane % 4u)), p);
    infinite |= is_finite(x.x) && is_finite(x.y) && is_finite(x.z) && is_finite(x.w) ? 0u : 1u;
  }
  infinite |= simd_shuffle_xor(infinite, ushort(1));
  return (infinite | simd_shuffle_xor(infinite, ushort(2))) != 0u;
}

// Row i of a tile, or the last of all in its place.
inline device const T* existing_row(device const T* b, uint tile, uint i, constant KnnScanParams& p) {
  return b + long(min(row_of_tile(tile, i, p), uint(p.nb) - 1u)) * p.b_row;
}

// The norms of rows that have such an element become NaN.
inline void mark_infinite(device const T* b, threadgroup RowTerms* terms, uint tile, uint first_row, uint lane,
                          constant KnnScanParams& p) {
#pragma unroll 1
  for (uint r = 0u; r < uint(LANE_ROWS); r++) {
    uint i = 8u * r + lane / 4u;
    bool infinite = has_infinite(existing_row(b, tile, first_row + i, p), lane, p);
    if (infinite && lane % 4u == 0u) {
      terms[i].norm = as_type<float>(0x7fc00000u);
    }
  }
}

// The rows of a simdgroup, as multiply_tiles takes them: lane l has a quarter of rows l / 4, 8 behind, ... Their terms
// go to `terms` as well.
inline void load_rows(device const T* b, device const float* center, thread uint* a, thread float* of_norm,
                      thread float* of_scale, threadgroup RowTerms* terms, uint tile, uint first_row, uint lane,
                      constant KnnScanParams& p) {
  float4 value[STEPS];
  bool infinite = false;
#if L2
  float4 middle[STEPS];
  load_center(center, middle, lane, p);
#endif
#if VECTORS == 2
  uint4 words[LANE_ROWS * (DIM / 32)];  // on their way together
#pragma unroll
  for (uint r = 0u; r < uint(LANE_ROWS); r++) {
    device const T* row = existing_row(b, tile, first_row + 8u * r + lane / 4u, p);
#pragma unroll
    for (uint j = 0u; j < uint(DIM / 32); j++) {
      int c = int(32u * j + lane % 4u * 8u);
      words[r * (DIM / 32) + j] = c < p.d ? *(device const uint4*)(row + c) : uint4(0u);
    }
  }
#else
  float4 next[STEPS];
  load_steps(existing_row(b, tile, first_row + lane / 4u, p), next, lane, p);
#endif
#pragma unroll
  for (uint r = 0u; r < uint(LANE_ROWS); r++) {
    uint i = 8u * r + lane / 4u;
    bool valid = row_of_tile(tile, first_row + i, p) < uint(p.nb);
#if VECTORS == 2
#pragma unroll
    for (uint j = 0u; j < uint(DIM / 32); j++) {
      uint4 w = words[r * (DIM / 32) + j];
      value[2u * j] = elements4_of(uint2(w.x, w.y), element_type(b));
      value[2u * j + 1u] = elements4_of(uint2(w.z, w.w), element_type(b));
    }
#else
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
      value[s] = next[s];
    }
    if (r + 1u < uint(LANE_ROWS)) {  // on its way, all of it, while this row is scaled: barriers keep compilers from
      simdgroup_barrier(mem_flags::mem_none);  // mixing the two, which costs a fifth of the time of 100 queries
      load_steps(existing_row(b, tile, first_row + i + 8u, p), next, lane, p);
      simdgroup_barrier(mem_flags::mem_none);
    }
#endif
    float square_sum = 0.0f;
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
#if L2
      value[s] -= middle[s];
#endif
      square_sum = fma(value[s].x, value[s].x, square_sum);
      square_sum = fma(value[s].y, value[s].y, square_sum);
      square_sum = fma(value[s].z, value[s].z, square_sum);
      square_sum = fma(value[s].w, value[s].w, square_sum);
    }
    square_sum += simd_shuffle_xor(square_sum, ushort(1));
    square_sum += simd_shuffle_xor(square_sum, ushort(2));
    infinite = infinite || !(square_sum <= LARGEST);
    int shift = shift_of_norm(square_sum, p);
    float scale = power_of_2(shift);
#pragma unroll
    for (uint s = 0u; s < uint(STEPS); s++) {
      float4 v = value[s] * scale;
      thread uint* to = a + 4u * (r / 2u * STEPS + s) + r % 2u;
      to[0] = pack_halves(v.x, v.y);
      to[2] = pack_halves(v.z, v.w);
    }
    RowTerms t = row_terms(square_sum, shift, valid, p);
    of_norm[r] = t.of_norm;
    of_scale[r] = t.of_scale;
    if (lane % 4u == 0u) {
      terms[i] = t;
    }
  }
  if (simd_any(infinite)) {  // elements, or only their squares
    mark_infinite(b, terms, tile, first_row, lane, p);
  }
  simdgroup_barrier(mem_flags::mem_threadgroup);
}
