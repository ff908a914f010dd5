// Scores of some queries for the rows of a simdgroup, of which those that pass the queries' filters are listed.
#pragma once

#include "knn_scan_rows.h"
#include "knn_score.h"

#define STRIDE (DIM + 8)  // of queries in threadgroup memory: no two of eight start in the same banks
#define STEP_QUERIES 32u
#define TILE_ROWS (uint(SIMDS) * SIMD_ROWS)
#define QUEUE 64u  // of a simdgroup: 32 may come at once, and 32 leave

// Whether the bound of a row may be below the threshold of a query: surely where it is not a number.
inline bool passes(float product, float of_norm, float of_scale, float2 filter) {
  return !(fma(of_norm, filter.x, fma(of_scale, filter.y, -product)) > 0.0f);
}

inline ulong bound_pair(float product, QueryTerms q, RowTerms b, uint row, constant KnnScanParams& p) {
  product = product * b.scale * q.scale;
#if L2
  float sum = q.norm + b.norm;
  float bound = sum - sum * p.relative - 2.0f * product - p.absolute;
  // A row so far away that its norm overflows is beyond 2^127 from a query of moderate norm.
  bound = b.norm > LARGEST && q.norm < 8e34f ? 1.7e38f : bounded_below(bound);
#else
  float bound = bounded_below(-product - p.relative * q.norm * b.norm - p.absolute);
#endif
  return isnan(b.norm) ? NO_PAIR : pair_of(float_key(bound), row);
}

// Of a simdgroup.
struct Scan {
  device const QueryTerms* terms;
  device const uint* thresholds;
  device ulong* lists;
  device atomic_uint* counts;
  threadgroup const RowTerms* rows;
  threadgroup uint2* queue;  // what passed filters
  uint queued;
  uint index, tile, first_row, lane;  // of the pass, of all, within the tile
};

// Lists `count` of what passed a filter behind the first `queued`, (query * SIMD_ROWS + row of the simdgroup, product),
// where the bound is below the threshold.
inline void add_queued(thread const Scan& scan, uint count, constant KnnScanParams& p) {
  simdgroup_barrier(mem_flags::mem_threadgroup);
  if (scan.lane < count) {
    uint2 passed = scan.queue[scan.queued + scan.lane];
    uint query = passed.x / SIMD_ROWS, i = passed.x % SIMD_ROWS, row = row_of_tile(scan.tile, scan.first_row + i, p);
    if (query < uint(p.num_queries)) {
      ulong pair = bound_pair(as_type<float>(passed.y), scan.terms[query], scan.rows[i], row, p);
      add_pair(pair, query, scan.thresholds[query], scan.lists, scan.counts, p);
    }
  }
  simdgroup_barrier(mem_flags::mem_threadgroup);
}

// What follows is for the first 8 * `tiles` of STEP_QUERIES queries. Value 4 (STEP_TILES m + n) + i is of row
// 16 m + 8 (i / 2) + lane / 4 of the simdgroup and of query 8 n + 2 (lane % 4) + i % 2.
#define STEP_TILES (STEP_QUERIES / 8u)
#define VALUES (4u * STEP_TILES * uint(BLOCKS))  // at most the bits of a word

inline uint query_of_value(uint e, uint lane) {
  return e / 4u % STEP_TILES * 8u + 2u * (lane % 4u) + e % 2u;
}

inline uint row_of_value(uint e, uint lane) {
  return e / (4u * STEP_TILES) * 16u + e % 4u / 2u * 8u + lane / 4u;
}

inline bool has_value(uint e, uint tiles) {
  return e / 4u % STEP_TILES < tiles;
}

// Products with the rows of a simdgroup.
inline void multiply_queries(thread float* c, thread const uint* a, threadgroup const half* queries, uint tiles,
                             uint lane) {
  threadgroup const half* from = queries + (lane / 16u * 8u + lane % 8u) * STRIDE + lane / 8u % 2u * 8u;
#pragma unroll
  for (uint e = 0u; e < VALUES; e++) {
    c[e] = 0.0f;
  }
#pragma unroll
  for (uint s = 0u; s < uint(STEPS); s++) {
    uint b[2u * STEP_TILES];
#pragma unroll
    for (uint n = 0u; n < tiles; n += 2u) {
      load_tiles(from + 8u * n * STRIDE + 16u * s, b + 2u * n);
    }
#pragma unroll
    for (uint m = 0u; m < uint(BLOCKS); m++) {
#pragma unroll
      for (uint n = 0u; n < tiles; n++) {
        multiply_tiles(c + 4u * (STEP_TILES * m + n), a + 4u * (m * STEPS + s), b + 2u * n);
      }
    }
  }
}

// Lists all rows of the simdgroup.
inline void list_all(thread const float* c, uint first, uint tiles, thread const Scan& scan,
                     constant KnnScanParams& p) {
#pragma unroll
  for (uint e = 0u; e < VALUES; e++) {
    uint query = first + query_of_value(e, scan.lane), i = row_of_value(e, scan.lane);
    if (has_value(e, tiles) && query < uint(p.num_queries)) {
      uint row = row_of_tile(scan.tile, scan.first_row + i, p);
      ulong pair = bound_pair(c[e], scan.terms[query], scan.rows[i], row, p);
      scan.lists[long(query) * long(p.capacity) + long(scan.index * TILE_ROWS + scan.first_row + i)] = pair;
    }
  }
}

// Scores the queries, the first of which is `first`, and lists what passes their filters. `tiles` is a constant.
inline void scan_queries(thread const uint* a, thread const float* of_norm, thread const float* of_scale,
                         threadgroup const half* queries, threadgroup const float2* filters, uint first, uint tiles,
                         thread Scan& scan, constant KnnScanParams& p) {
  float c[VALUES];
  uint lane = scan.lane;
  multiply_queries(c, a, queries, tiles, lane);
  if (p.filled != 0) {
    list_all(c, first, tiles, scan, p);
    return;
  }
  bool any = false;
#pragma unroll
  for (uint e = 0u; e < VALUES; e++) {
    uint r = e / (4u * STEP_TILES) * 2u + e % 4u / 2u;
    if (has_value(e, tiles)) {
      any |= passes(c[e], of_norm[r], of_scale[r], filters[query_of_value(e, lane)]);
    }
  }
  if (!simd_any(any)) {
    return;
  }
  uint left = 0u;
#pragma unroll
  for (uint e = 0u; e < VALUES; e++) {
    uint r = e / (4u * STEP_TILES) * 2u + e % 4u / 2u;
    if (has_value(e, tiles)) {
      left |= passes(c[e], of_norm[r], of_scale[r], filters[query_of_value(e, lane)]) ? 1u << e : 0u;
    }
  }
  uint voters = uint(ulong(simd_ballot(left != 0u)));
  while (voters != 0u) {
    uint e = uint(ctz(left)) % 32u;
    float product = 0.0f;
#pragma unroll
    for (uint j = 0u; j < VALUES; j++) {
      product = j == e ? c[j] : product;
    }
    if (left != 0u) {
      scan.queue[scan.queued + uint(popcount(voters & ((1u << lane) - 1u)))] =
          uint2((first + query_of_value(e, lane)) * SIMD_ROWS + row_of_value(e, lane), as_type<uint>(product));
    }
    scan.queued += uint(popcount(voters));
    left &= left - 1u;
    voters = uint(ulong(simd_ballot(left != 0u)));
    if (scan.queued >= 32u) {
      scan.queued -= 32u;
      add_queued(scan, 32u, p);
    }
  }
}
