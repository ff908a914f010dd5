// Exact search in passes over the rows, for GPUs with tensor cores: of each query all rows below a threshold are listed
// as they are read. A first pass over a sample lists all of its rows; between passes knn_tighten.metal shortens each
// list to its best, which give the next threshold. Only the lists reach memory, never the scores.
//
// As in knn.metal a row is ranked by a bound that its exact score is not below, and knn_finish proves the results: no
// bound that was dropped is smaller than the last of a list. A list that overflows is handed on as not proven. Few
// queries are scanned by knn_scan_few.metal.
#include <metal_stdlib>
using namespace metal;

#ifndef T
#define T float  // of xb
#endif
#ifndef L2
#define L2 1  // otherwise inner products
#endif
#ifndef DIM
#define DIM 32  // columns, padded: a multiple of 32
#endif
#ifndef SIMDS
#define SIMDS 4  // simdgroups of a threadgroup of knn_scan
#endif
#ifndef RESIDENT
#define RESIDENT 1  // threadgroups of knn_scan that an NVIDIA multiprocessor runs at once: see metal/tools/cuda.py
#endif

#include "knn_scan_step.h"

#define TILE_QUERIES 64u

// Queries as 16-bit floats, centred and scaled; their terms and first filters. A simdgroup takes a query; those from
// num_queries on are padding that nothing passes. Threadgroup memory: none. Bytes moved: 4 * d read, 2 * DIM written.
kernel void knn_scan_queries(device const float* xq [[buffer(0)]], device const float* center [[buffer(1)]],
                             device half* halves [[buffer(2)]], device QueryTerms* terms [[buffer(3)]],
                             device float2* filters [[buffer(4)]], constant KnnScanParams& p [[buffer(5)]],
                             uint3 group [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]],
                             uint simd [[simdgroup_index_in_threadgroup]]) {
  uint query = group.x * 8u + simd;
  device const float* x = xq + p.a_offset + long(query) * long(p.d);
  float value[DIM / 32];
  float square_sum = 0.0f, largest = 0.0f;
  bool finite = query < uint(p.num_queries);
#pragma unroll
  for (int i = 0; i < DIM / 32; i++) {
    int c = column_at(32 * i + int(lane));
    bool valid = c < p.d && query < uint(p.num_queries);
    value[i] = valid ? x[c] : 0.0f;
    finite = finite && is_finite(value[i]);
    value[i] = L2 != 0 && valid ? value[i] - center[c] : value[i];
    square_sum = fma(value[i], value[i], square_sum);
    largest = max(largest, abs(value[i]));
  }
  square_sum = simd_sum(square_sum);
  largest = simd_max(largest);
  bool bad = simd_max(finite ? 0u : 1u) != 0u;
  int shift = shift_of(largest);
  float scale = bad || !is_finite(largest) ? 0.0f : power_of_2(shift);
#pragma unroll
  for (int i = 0; i < DIM / 32; i++) {
    halves[long(query) * DIM + long(32 * i) + long(lane)] = half(scale == 0.0f ? 0.0f : value[i] * scale);
  }
  if (lane == 0u) {
    QueryTerms t;
    t.norm = bad ? as_type<float>(0x7fc00000u) : L2 != 0 ? square_sum : sqrt(square_sum + p.absolute);
    t.scale = power_of_2(-shift);
    t.inverse = power_of_2(shift);
    terms[query] = t;
    filters[query] = filter_of(t, NAN_KEY, p);
  }
}

// Starts the copies of a tile of queries and their filters.
inline void stage_queries(device const half* halves, device const float2* filters, threadgroup half* queries,
                          threadgroup float2* staged, uint first, uint thread_index) {
  for (uint i = thread_index; i < TILE_QUERIES * (DIM / 8); i += 32u * uint(SIMDS)) {
    uint query = i / (DIM / 8), c = i % (DIM / 8) * 8u;
    copy_async((threadgroup uint4*)(queries + query * STRIDE + c),
               (device const uint4*)(halves + long(first + query) * DIM + long(c)));
  }
  if (thread_index < TILE_QUERIES / 2u) {
    copy_async((threadgroup uint4*)(staged + 2u * thread_index),
               (device const uint4*)(filters + first + 2u * thread_index));
  }
}

// A threadgroup takes some tiles of rows, of which each simdgroup holds 32 in registers (16 beyond 128 columns), and
// some tiles of 64 queries: two of them stay in threadgroup memory, more pass through it for every tile of rows.
// Threadgroup memory, dynamic: two tiles of queries, 16-bit, 16 bytes a row, 8 a query and 512 a simdgroup: 41 KB of
// 128 columns and 4 simdgroups. Bytes moved: the rows once for each group of query tiles; the queries, from the cache,
// once a tile of rows where they pass; 8 for each pair listed.
kernel void knn_scan(device const T* xb [[buffer(0)]], device const float* center [[buffer(1)]],
                     device const half* halves [[buffer(2)]], device const QueryTerms* terms [[buffer(3)]],
                     device const float2* filters [[buffer(4)]], device const uint* thresholds [[buffer(5)]],
                     device ulong* lists [[buffer(6)]], device atomic_uint* counts [[buffer(7)]],
                     constant KnnScanParams& p [[buffer(8)]], threadgroup uint4* memory [[threadgroup(0)]],
                     uint3 group [[threadgroup_position_in_grid]], uint3 groups [[threadgroups_per_grid]],
                     uint thread_index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
                     uint simd [[simdgroup_index_in_threadgroup]]) {
  threadgroup half* queries = (threadgroup half*)memory;
  threadgroup RowTerms* row_terms = (threadgroup RowTerms*)(queries + 2u * TILE_QUERIES * STRIDE);
  threadgroup float2* staged = (threadgroup float2*)(row_terms + TILE_ROWS);
  uint first_row = simd * SIMD_ROWS;
  threadgroup RowTerms* mine_terms = row_terms + first_row;
  threadgroup uint2* queue = (threadgroup uint2*)(staged + 2u * TILE_QUERIES) + simd * QUEUE;

  uint query_tiles = (uint(p.num_queries) + TILE_QUERIES - 1u) / TILE_QUERIES;
  uint begin = group.y * uint(p.query_tiles), end = min(query_tiles, begin + uint(p.query_tiles));
  bool stay = end - begin <= 2u;
  for (uint t = begin; t < end && stay; t++) {
    stage_queries(halves, filters, queries + (t - begin) * TILE_QUERIES * STRIDE, staged + (t - begin) * TILE_QUERIES,
                  t * TILE_QUERIES, thread_index);
  }
  await_copies();
  threadgroup_barrier(mem_flags::mem_threadgroup);

  for (uint index = group.x; index < uint(p.pass_tiles); index += groups.x) {
    uint tile = tile_of_pass(index, p);
    if (!stay) {
      threadgroup_barrier(mem_flags::mem_threadgroup);
      stage_queries(halves, filters, queries, staged, begin * TILE_QUERIES, thread_index);
    }
    uint a[BLOCKS * STEPS * 4];
    float of_norm[LANE_ROWS], of_scale[LANE_ROWS];
    load_rows(xb + p.b_offset, center, a, of_norm, of_scale, mine_terms, tile, first_row, lane, p);
    Scan scan = {terms, thresholds, lists, counts, mine_terms, queue, 0u, index, tile, first_row, lane};

    for (uint t = begin; t < end; t++) {
      uint buffer = (t - begin) % 2u;
      if (!stay) {
        await_copies();
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (t + 1u < end) {
          stage_queries(halves, filters, queries + (1u - buffer) * TILE_QUERIES * STRIDE,
                        staged + (1u - buffer) * TILE_QUERIES, (t + 1u) * TILE_QUERIES, thread_index);
        }
      }
#pragma unroll 1
      for (uint first = 0u; first < TILE_QUERIES && t * TILE_QUERIES + first < uint(p.num_queries);
           first += STEP_QUERIES) {
        threadgroup const half* step = queries + (buffer * TILE_QUERIES + first) * STRIDE;
        threadgroup const float2* filter = staged + buffer * TILE_QUERIES + first;
        uint query = t * TILE_QUERIES + first;
        if (uint(p.num_queries) - query > 8u) {
          scan_queries(a, of_norm, of_scale, step, filter, query, STEP_TILES, scan, p);
        } else {
          scan_queries(a, of_norm, of_scale, step, filter, query, 1u, scan, p);
        }
      }
    }
    if (scan.queued > 0u) {
      uint count = scan.queued;
      scan.queued = 0u;
      add_queued(scan, count, p);
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);  // behind reads of row_terms
  }
}
