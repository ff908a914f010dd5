// The passes of knn_scan.metal over the rows for few queries, in float32.
#include <metal_stdlib>
using namespace metal;

#ifndef T
#define T float  // of xb
#endif
#ifndef L2
#define L2 1  // otherwise inner products
#endif
#ifndef QUERIES
#define QUERIES 1
#endif

#include "knn_scan.h"
#include "knn_score.h"

// sum + |x|^2
inline float squares(float4 x, float sum) {
  return fma(x.x, x.x, fma(x.y, x.y, fma(x.z, x.z, fma(x.w, x.w, sum))));
}

#define FEW_ROWS 256u  // of a threadgroup: 32 of a simdgroup

// Lane l of eight gets the sum over the eight of x[l].
inline float sum_of_eight(thread float* x, uint lane) {
#pragma unroll
  for (uint width = 4u; width > 0u; width /= 2u) {
    bool upper = (lane & width) != 0u;
#pragma unroll
    for (uint i = 0u; i < width; i++) {
      float given = upper ? x[i] : x[i + width];
      x[i] = (upper ? x[i + width] : x[i]) + simd_shuffle_xor(given, ushort(width));
    }
  }
  return x[0];
}

// Adds columns c to c + 3 of eight rows to their scores for all queries, and to the sums of squares.
inline void add_columns(device const float* queries, int c, thread const float4* x, thread float* score,
                        thread float* square_sum, thread float* query_sum, constant KnnScanParams& p) {
#pragma unroll
  for (uint q = 0u; q < uint(QUERIES); q++) {
    device const float* query = queries + long(min(q, uint(p.num_queries) - 1u)) * long(p.d) + long(c);
    float4 y =
        float4(query[0], c + 1 < p.d ? query[1] : 0.0f, c + 2 < p.d ? query[2] : 0.0f, c + 3 < p.d ? query[3] : 0.0f);
#pragma unroll
    for (uint r = 0u; r < 8u; r++) {
#if L2
      float4 difference = y - x[r];
      score[8u * q + r] = squares(difference, score[8u * q + r]);
#else
      score[8u * q + r] -= dot(y, x[r]);
#endif
    }
    query_sum[q] = squares(y, query_sum[q]);
  }
#if !L2
#pragma unroll
  for (uint r = 0u; r < 8u; r++) {
    square_sum[r] = squares(x[r], square_sum[r]);
  }
#endif
}

// A threadgroup of 256 takes a tile of 256 rows and all queries, QUERIES at most. Every simdgroup reads four rows at
// once, eight lanes along the columns of each. Threadgroup memory: none. Bytes moved: the rows once, 4 * d a query, 8
// for each pair listed.
kernel void knn_scan_few(device const float* xq [[buffer(0)]], device const T* xb [[buffer(1)]],
                         device const uint* thresholds [[buffer(2)]], device ulong* lists [[buffer(3)]],
                         device atomic_uint* counts [[buffer(4)]], constant KnnScanParams& p [[buffer(5)]],
                         uint3 group [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]],
                         uint simd [[simdgroup_index_in_threadgroup]]) {
  uint tile = tile_of_pass(group.x, p), part = lane % 8u;
  device const T* b = xb + p.b_offset;
  device const float* queries = xq + p.a_offset;
  device const T* row[8];
#pragma unroll
  for (uint r = 0u; r < 8u; r++) {
    uint index = row_of_tile(tile, 32u * simd + 4u * r + lane / 8u, p);
    row[r] = b + long(min(index, uint(p.nb) - 1u)) * p.b_row;
  }
  float score[QUERIES * 8], square_sum[8], query_sum[QUERIES];
#pragma unroll
  for (uint r = 0u; r < 8u; r++) {
    square_sum[r] = 0.0f;
#pragma unroll
    for (uint q = 0u; q < uint(QUERIES); q++) {
      score[8u * q + r] = 0.0f;
      query_sum[q] = 0.0f;
    }
  }
  float4 x[8];
#if VECTORS == 2
#pragma unroll 1
  for (int c = 8 * int(part); c < p.d; c += 64) {
    uint4 words[8];
#pragma unroll
    for (uint r = 0u; r < 8u; r++) {
      words[r] = *(device const uint4*)(row[r] + c);
    }
#pragma unroll
    for (uint h = 0u; h < 2u; h++) {
#pragma unroll
      for (uint r = 0u; r < 8u; r++) {
        x[r] = elements4_of(h == 0u ? uint2(words[r].x, words[r].y) : uint2(words[r].z, words[r].w), element_type(b));
      }
      add_columns(queries, c + 4 * int(h), x, score, square_sum, query_sum, p);
    }
  }
#else
#if QUERIES == 1
#pragma unroll 2
#else
#pragma unroll 1
#endif
  for (int c = 4 * int(part); c < p.d; c += 32) {
#pragma unroll
    for (uint r = 0u; r < 8u; r++) {
      x[r] = load_columns(row[r], c, p);
    }
    add_columns(queries, c, x, score, square_sum, query_sum, p);
  }
#endif
  uint within = 32u * simd + 4u * part + lane / 8u, index = row_of_tile(tile, within, p);
#if !L2
  float norm = sqrt(sum_of_eight(square_sum, lane) + p.absolute);
#endif
#pragma unroll
  for (uint q = 0u; q < uint(QUERIES); q++) {
    float s = sum_of_eight(score + 8u * q, lane);
#if L2
    bool is_number = !isnan(s);
    s = min(s, LARGEST);
    float bound = s - s * p.relative - p.absolute;
#else
#pragma unroll
    for (uint distance = 1u; distance < 8u; distance *= 2u) {
      query_sum[q] += simd_shuffle_xor(query_sum[q], ushort(distance));
    }
    bool is_number = !isnan(norm);
    float bound = bounded_below(s - p.relative * sqrt(query_sum[q] + p.absolute) * norm - p.absolute);
#endif
    if (q < uint(p.num_queries)) {
      ulong pair = is_number && index < uint(p.nb) ? pair_of(float_key(bound), index) : NO_PAIR;
      if (p.filled != 0) {
        lists[long(q) * long(p.capacity) + long(group.x * FEW_ROWS + within)] = pair;
      } else {
        add_pair(pair, q, thresholds[q], lists, counts, p);
      }
    }
  }
}
