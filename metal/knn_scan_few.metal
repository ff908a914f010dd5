// Exact search by a scan of the rows for few queries, in float32. knn_sample_few reads some of the rows, and keeps the
// smallest keys of groups of them: the rank-th of these is no smaller than the rank-th of all. knn_scan_few makes it
// the threshold below which rows are listed, and knn_finish_few makes the results of the list, and proves them.
#include <metal_stdlib>
using namespace metal;

#ifndef T
#define T float  // of xb
#endif
#ifndef L2
#define L2 1  // otherwise inner products
#endif
#ifndef LIST
#define LIST 32  // rows of knn_finish_few, which scores up to twice as many exactly
#endif
#ifndef THREADS
#define THREADS 256  // of knn_finish_few
#endif
#ifndef QUERIES
#define QUERIES 1
#endif
#ifndef RESIDENT
#define RESIDENT 1  // threadgroups that an NVIDIA multiprocessor runs at once: see metal/tools/cuda.py
#endif

#include "batch.h"
#include "knn_limit.h"
#include "knn_rescore.h"

// sum + |x|^2
inline float squares(float4 x, float sum) {
  return fma(x.x, x.x, fma(x.y, x.y, fma(x.z, x.z, fma(x.w, x.w, sum))));
}

#define FEW_THREADS 256u
#define FEW_ROWS 256u      // of a tile: 32 of a simdgroup
#define MOST_MINIMA 1024u  // of a query

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
#if VECTORS
    float4 y = *(device const float4*)query;
#else
    float4 y =
        float4(query[0], c + 1 < p.d ? query[1] : 0.0f, c + 2 < p.d ? query[2] : 0.0f, c + 3 < p.d ? query[3] : 0.0f);
#endif
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

// The pairs of a tile's rows for all queries, a row a lane. Every simdgroup reads four rows at once, eight lanes along
// the columns of each.
inline void score_tile(device const float* queries, device const T* b, uint tile, thread ulong* pairs, uint lane,
                       uint simd, constant KnnScanParams& p) {
  uint part = lane % 8u;
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
#pragma unroll 1
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
    pairs[q] = is_number && index < uint(p.nb) ? pair_of(float_key(bound), index) : NO_PAIR;
  }
}

// Threadgroups of 256 take the tiles of a pass in turn, and write the smallest keys that `sharing` lanes find. The
// first of them empties the lists. Threadgroup memory: none. Bytes moved: the rows once, 4 for each key.
kernel void knn_sample_few(device const float* xq [[buffer(0)]], device const T* xb [[buffer(1)]],
                           device uint* minima [[buffer(2)]], device atomic_uint* counts [[buffer(3)]],
                           constant KnnScanParams& p [[buffer(4)]], uint3 group [[threadgroup_position_in_grid]],
                           uint3 groups [[threadgroups_per_grid]], uint lane [[thread_index_in_simdgroup]],
                           uint simd [[simdgroup_index_in_threadgroup]]) {
  uint least[QUERIES];
#pragma unroll
  for (uint q = 0u; q < uint(QUERIES); q++) {
    least[q] = NAN_KEY;
  }
  for (uint i = group.x; i < uint(p.pass_tiles); i += groups.x) {
    ulong pairs[QUERIES];
    score_tile(xq + p.a_offset, xb + p.b_offset, tile_of_pass(i, p), pairs, lane, simd, p);
#pragma unroll
    for (uint q = 0u; q < uint(QUERIES); q++) {
      least[q] = min(least[q], key_of(pairs[q]));
    }
  }
#pragma unroll
  for (uint q = 0u; q < uint(QUERIES); q++) {
    for (uint distance = 1u; distance < uint(p.sharing); distance *= 2u) {
      least[q] = min(least[q], simd_shuffle_xor(least[q], ushort(distance)));
    }
    if (q < uint(p.num_queries)) {
      if (lane % uint(p.sharing) == 0u) {
        minima[uint(q * uint(p.minima)) + ((group.x * 8u + simd) * 32u + lane) / uint(p.sharing)] = least[q];
      }
      if (group.x == 0u && simd == 0u && lane == 0u) {
        atomic_store_explicit(counts + q, 0u, memory_order_relaxed);
      }
    }
  }
}

// The threshold that the keys of a sample give, by a simdgroup: behind all where there are too few.
inline uint threshold_of(threadgroup const uint* keys, uint lane, constant KnnScanParams& p) {
  uint low = NAN_KEY, high = 0u, found = 0u, rank = uint(p.rank);
  for (uint i = lane; i < uint(p.minima); i += 32u) {
    low = min(low, keys[i]);
    high = keys[i] == NAN_KEY ? high : max(high, keys[i]);
    found += keys[i] == NAN_KEY ? 0u : 1u;
  }
  low = simd_min(low);
  high = simd_max(high);
  found = simd_sum(found);
  if (found < rank) {
    return NAN_KEY;
  }
  while (found > rank + rank / 8u && low < high) {
    uint middle = low + (high - low) / 2u, n = 0u;
    for (uint i = lane; i < uint(p.minima); i += 32u) {
      n += keys[i] <= middle ? 1u : 0u;
    }
    n = simd_sum(n);
    if (n >= rank) {
      high = middle;
      found = n;
    } else {
      low = middle + 1u;
    }
  }
  return widened(high, 0.0f, p);
}

// Threadgroups of 256 take the tiles in turn, and list the rows below each query's threshold. Threadgroup memory: 4 KB
// a query. Bytes moved: the rows once, 8 for each pair listed.
kernel void knn_scan_few(device const float* xq [[buffer(0)]], device const T* xb [[buffer(1)]],
                         device const uint* minima [[buffer(2)]], device ulong* lists [[buffer(3)]],
                         device atomic_uint* counts [[buffer(4)]], device uint* thresholds [[buffer(5)]],
                         constant KnnScanParams& p [[buffer(6)]], uint3 group [[threadgroup_position_in_grid]],
                         uint3 groups [[threadgroups_per_grid]], uint thread_index [[thread_index_in_threadgroup]],
                         uint lane [[thread_index_in_simdgroup]], uint simd [[simdgroup_index_in_threadgroup]]) {
  threadgroup uint keys[QUERIES * MOST_MINIMA];
  threadgroup uint limits[QUERIES];
  for (uint i = thread_index; i < uint(p.num_queries) * uint(p.minima); i += FEW_THREADS) {
    keys[i] = minima[i];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (simd < uint(p.num_queries)) {
    uint threshold = threshold_of(keys + simd * uint(p.minima), lane, p);
    if (lane == 0u) {
      limits[simd] = threshold;
      if (group.x == 0u) {
        thresholds[simd] = threshold;
      }
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint tile = group.x; tile < uint(p.tiles); tile += groups.x) {
    ulong pairs[QUERIES];
    score_tile(xq + p.a_offset, xb + p.b_offset, tile, pairs, lane, simd, p);
#pragma unroll
    for (uint q = 0u; q < uint(QUERIES); q++) {
      if (q < uint(p.num_queries)) {
        add_pair(pairs[q], q, limits[q], lists, counts, p);
      }
    }
  }
}

// A threadgroup makes a query's results of its list. Threadgroup memory: 24 * LIST + 40. Bytes moved: the list once, d
// elements for each of 2 * LIST rows at most, 12 written for a result.
kernel void knn_finish_few(device const float* xq [[buffer(0)]], device const T* xb [[buffer(1)]],
                           device const ulong* lists [[buffer(2)]], device const uint* counts [[buffer(3)]],
                           device const uint* thresholds [[buffer(4)]], device float* distances [[buffer(5)]],
                           device long* ids [[buffer(6)]], device uint* flags [[buffer(7)]],
                           constant KnnScanParams& p [[buffer(8)]], constant KnnParams& results [[buffer(9)]],
                           uint3 group [[threadgroup_position_in_grid]],
                           uint thread_index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  threadgroup ulong scores[KEPT];
  threadgroup uint rows[KEPT];
  threadgroup ulong kth[1];
  threadgroup atomic_uint tally[3];
  threadgroup atomic_uint places[2];
  threadgroup atomic_uint lowest;
  threadgroup atomic_uint num_found;
  uint count = counts[group.x];
  bool overflow = count > uint(p.capacity);
  if (thread_index < 3u) {
    atomic_store_explicit(tally + thread_index, 0u, memory_order_relaxed);
  }
  if (thread_index == 0u) {
    atomic_store_explicit(&lowest, NAN_KEY, memory_order_relaxed);
  }
  ulong pairs[HELD];
  uint low = load_pairs(pairs, lists + long(group.x) * long(p.capacity), min(count, uint(p.capacity)), thread_index);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (lane == 0u) {
    atomic_fetch_min_explicit(&lowest, low, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  Counter counter = {tally, 0u, thread_index, lane};
  low = atomic_load_explicit(&lowest, memory_order_relaxed);
  Cut cut = cut_list(pairs, thresholds[group.x], low, 0.0f, counter, p);
  if (thread_index < 2u) {
    atomic_store_explicit(places + thread_index, thread_index == 0u ? 0u : cut.below, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
  for (uint i = 0u; i < HELD; i++) {
    uint key = key_of(pairs[i]);
    if (key <= cut.limit.key) {
      uint place = cut.limit.found > KEPT && key == cut.limit.key ? 1u : 0u;
      uint at = atomic_fetch_add_explicit(places + place, 1u, memory_order_relaxed);
      if (at < KEPT) {
        rows[at] = index_of(pairs[i]);
      }
    }
  }
  Finish finish = {scores, rows, &num_found, kth};
  finish_query(finish, min(cut.limit.found, KEPT), overflow ? float_key(-LARGEST) : cut.above,
               xq + p.a_offset + long(group.x) * long(p.d), xb + p.b_offset, distances, ids,
               (results.out_row + long(group.x)) * long(results.k), flags + group.x, results, thread_index,
               uint(THREADS));
}
