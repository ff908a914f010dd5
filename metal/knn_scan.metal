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

#include "half_tile.h"
#include "knn_filter.h"
#include "knn_score.h"

#define STRIDE (DIM + 8)             // of queries in threadgroup memory: no two of eight start in the same banks
#define BLOCKS (DIM <= 128 ? 2 : 1)  // of 16 rows of a simdgroup
#define SIMD_ROWS (16u * BLOCKS)
#define LANE_ROWS (2 * BLOCKS)  // of which a lane has a quarter
#define TILE_ROWS (uint(SIMDS) * SIMD_ROWS)
#define TILE_QUERIES 64u
#define STEP_QUERIES 32u
#define QUEUE 64u  // of a simdgroup: 32 may come at once, and 32 leave
#define STEPS (DIM / 16)
#define VALUES (16 * BLOCKS)  // of a lane in a step

// The column of a row that stands at position i of those a lane multiplies: a lane has four neighbours, or twice four,
// of every row, and what the tiles call columns 2 (l % 4), the next, and 8 behind are these.
inline int column_at(int i) {
#if VECTORS == 2
  return i / 32 * 32 + i % 8 / 2 * 8 + i / 16 % 2 * 4 + i / 8 % 2 * 2 + i % 2;
#else
  return i / 16 * 16 + i % 8 / 2 * 4 + i / 8 % 2 * 2 + i % 2;
#endif
}

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

// Of a row in threadgroup memory.
struct RowTerms {
  float of_norm, of_scale;  // of the filter
  float norm;               // as of a query
  float scale;
};

inline RowTerms row_terms(float square_sum, int shift, bool bad, constant KnnScanParams& p) {
  RowTerms t;
  t.norm = bad ? as_type<float>(0x7fc00000u) : L2 != 0 ? square_sum : sqrt(square_sum + p.absolute);
  t.scale = power_of_2(-shift);
  float inverse = power_of_2(shift) * (L2 != 0 ? 0.5f : 1.0f);
  t.of_norm = (L2 != 0 ? t.norm * (1.0f - slack_of(p)) : t.norm) * inverse;
  t.of_scale = inverse;
  if (!(square_sum <= LARGEST)) {  // the bound decides
    t.of_norm = as_type<float>(0x7fc00000u);
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

// The rows of a simdgroup, as multiply_tiles takes them: lane l has a quarter of rows l / 4, 8 behind, ... Their terms
// go to `terms` as well.
inline void load_rows(device const T* b, device const float* center, thread uint* a, thread float* of_norm,
                      thread float* of_scale, threadgroup RowTerms* terms, uint tile, uint simd, uint lane,
                      constant KnnScanParams& p) {
  float4 value[STEPS];
#if L2
  float4 middle[STEPS];
  load_center(center, middle, lane, p);
#endif
#if VECTORS == 2
  uint4 words[LANE_ROWS * (DIM / 32)];  // on their way together
#pragma unroll
  for (uint r = 0u; r < uint(LANE_ROWS); r++) {
    uint row = min(row_of_tile(tile, simd * SIMD_ROWS + 8u * r + lane / 4u, p), uint(p.nb) - 1u);
#pragma unroll
    for (uint j = 0u; j < uint(DIM / 32); j++) {
      int c = int(32u * j + lane % 4u * 8u);
      words[r * (DIM / 32) + j] = c < p.d ? *(device const uint4*)(b + long(row) * p.b_row + c) : uint4(0u);
    }
  }
#endif
#pragma unroll
  for (uint r = 0u; r < uint(LANE_ROWS); r++) {
    uint i = 8u * r + lane / 4u, row = row_of_tile(tile, simd * SIMD_ROWS + i, p);
    bool valid = row < uint(p.nb);
    device const T* x = b + long(valid ? row : uint(p.nb) - 1u) * p.b_row;
#if VECTORS == 2
#pragma unroll
    for (uint j = 0u; j < uint(DIM / 32); j++) {
      uint4 w = words[r * (DIM / 32) + j];
      value[2u * j] = elements4_of(uint2(w.x, w.y), element_type(b));
      value[2u * j + 1u] = elements4_of(uint2(w.z, w.w), element_type(b));
    }
#else
    load_steps(x, value, lane, p);
#endif
    float square_sum = 0.0f, largest = 0.0f;
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
#if L2
      value[s] -= middle[s];
#endif
      square_sum = fma(value[s].x, value[s].x, square_sum);
      square_sum = fma(value[s].y, value[s].y, square_sum);
      square_sum = fma(value[s].z, value[s].z, square_sum);
      square_sum = fma(value[s].w, value[s].w, square_sum);
      largest = max(max(largest, max(abs(value[s].x), abs(value[s].y))), max(abs(value[s].z), abs(value[s].w)));
    }
#pragma unroll
    for (uint distance = 1u; distance < 4u; distance *= 2u) {
      square_sum += simd_shuffle_xor(square_sum, ushort(distance));
      largest = max(largest, simd_shuffle_xor(largest, ushort(distance)));
    }
    int shift = shift_of(largest);
    float scale = power_of_2(shift);
    bool bad = !valid;
    if (simd_any(!(square_sum <= LARGEST))) {  // not finite, or only its norm is not
      bad = has_infinite(x, lane, p) || bad;
    }
#pragma unroll
    for (uint s = 0u; s < uint(STEPS); s++) {
      float4 v = value[s] * scale;
      thread uint* to = a + 4u * (r / 2u * STEPS + s) + r % 2u;
      to[0] = pack_halves(v.x, v.y);
      to[2] = pack_halves(v.z, v.w);
    }
    RowTerms t = row_terms(square_sum, shift, bad, p);
    if (!valid) {
      t.of_norm = L2 != 0 ? INFINITY : -INFINITY;  // never passes
    }
    of_norm[r] = t.of_norm;
    of_scale[r] = t.of_scale;
    if (lane % 4u == 0u) {
      terms[i] = t;
    }
  }
  simdgroup_barrier(mem_flags::mem_threadgroup);
}

// Whether the bound of a row may be below the threshold of a query: surely where it is not a number.
inline bool passes(float product, float of_norm, float of_scale, float2 filter) {
  return !(fma(of_norm, filter.x, fma(of_scale, filter.y, -product)) > 0.0f);
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

// Lists what passed a filter, (query * SIMD_ROWS + row of the simdgroup, product), if its bound is below the threshold.
inline void add_queued(uint2 passed, device const QueryTerms* terms, threadgroup const RowTerms* rows,
                       device const uint* thresholds, uint first_row, uint tile, device ulong* lists,
                       device atomic_uint* counts, constant KnnScanParams& p) {
  uint query = passed.x / SIMD_ROWS, i = passed.x % SIMD_ROWS;
  if (query < uint(p.num_queries)) {
    ulong pair = bound_pair(as_type<float>(passed.y), terms[query], rows[i], row_of_tile(tile, first_row + i, p), p);
    add_pair(pair, query, thresholds[query], lists, counts, p);
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
  threadgroup uint2* queue = (threadgroup uint2*)(staged + 2u * TILE_QUERIES) + simd * QUEUE;  // what passed filters

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
    uint tile = tile_of_pass(index, p), queued = 0u;
    if (!stay) {
      threadgroup_barrier(mem_flags::mem_threadgroup);
      stage_queries(halves, filters, queries, staged, begin * TILE_QUERIES, thread_index);
    }
    uint a[BLOCKS * STEPS * 4];
    float of_norm[LANE_ROWS], of_scale[LANE_ROWS];
    load_rows(xb + p.b_offset, center, a, of_norm, of_scale, mine_terms, tile, simd, lane, p);

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
      for (uint first = 0u; first < TILE_QUERIES; first += STEP_QUERIES) {
        float c[VALUES];
#pragma unroll
        for (uint i = 0u; i < uint(VALUES); i++) {
          c[i] = 0.0f;
        }
        threadgroup const half* from =
            queries + (buffer * TILE_QUERIES + first + lane / 16u * 8u + lane % 8u) * STRIDE + lane / 8u % 2u * 8u;
#pragma unroll
        for (uint s = 0u; s < uint(STEPS); s++) {
          uint b[8];
          load_tiles(from + 16u * s, b);
          load_tiles(from + 16u * STRIDE + 16u * s, b + 4);
#pragma unroll
          for (uint m = 0u; m < uint(BLOCKS); m++) {
#pragma unroll
            for (uint n = 0u; n < 4u; n++) {
              multiply_tiles(c + 4u * (4u * m + n), a + 4u * (m * STEPS + s), b + 2u * n);
            }
          }
        }
        // Value 4 (4 m + n) + i is of row 16 m + 8 (i / 2) + lane / 4 and of query first + 8 n + 2 (lane % 4) + i % 2.
        threadgroup const float2* filter = staged + buffer * TILE_QUERIES + first + 2u * (lane % 4u);
        if (p.filled != 0) {
#pragma unroll
          for (uint e = 0u; e < uint(VALUES); e++) {
            uint query = t * TILE_QUERIES + first + 8u * (e / 4u % 4u) + 2u * (lane % 4u) + e % 2u;
            uint i = simd * SIMD_ROWS + e / 16u * 16u + e % 4u / 2u * 8u + lane / 4u;
            if (query < uint(p.num_queries)) {
              ulong pair = bound_pair(c[e], terms[query], row_terms[i], row_of_tile(tile, i, p), p);
              lists[long(query) * long(p.capacity) + long(index * TILE_ROWS + i)] = pair;
            }
          }
          continue;
        }
        bool any = false;
#pragma unroll
        for (uint e = 0u; e < uint(VALUES); e++) {
          any |= passes(c[e], of_norm[e / 16u * 2u + e % 4u / 2u], of_scale[e / 16u * 2u + e % 4u / 2u],
                        filter[e / 4u % 4u * 8u + e % 2u]);
        }
        if (simd_any(any)) {
          uint left = 0u;
#pragma unroll
          for (uint e = 0u; e < uint(VALUES); e++) {
            bool passed = passes(c[e], of_norm[e / 16u * 2u + e % 4u / 2u], of_scale[e / 16u * 2u + e % 4u / 2u],
                                 filter[e / 4u % 4u * 8u + e % 2u]);
            left |= passed ? 1u << e : 0u;
          }
          uint voters = uint(ulong(simd_ballot(left != 0u)));
          while (voters != 0u) {
            uint e = uint(ctz(left)) % 32u,
                 query = t * TILE_QUERIES + first + 8u * (e / 4u % 4u) + 2u * (lane % 4u) + e % 2u;
            uint i = e / 16u * 16u + e % 4u / 2u * 8u + lane / 4u;
            float product = 0.0f;
#pragma unroll
            for (uint j = 0u; j < uint(VALUES); j++) {
              product = j == e ? c[j] : product;
            }
            if (left != 0u) {
              queue[queued + uint(popcount(voters & ((1u << lane) - 1u)))] =
                  uint2(query * SIMD_ROWS + i, as_type<uint>(product));
            }
            queued += uint(popcount(voters));
            left &= left - 1u;
            voters = uint(ulong(simd_ballot(left != 0u)));
            if (queued >= 32u) {
              simdgroup_barrier(mem_flags::mem_threadgroup);
              queued -= 32u;
              add_queued(queue[queued + lane], terms, mine_terms, thresholds, first_row, tile, lists, counts, p);
              simdgroup_barrier(mem_flags::mem_threadgroup);
            }
          }
        }
      }
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
    if (lane < queued) {
      add_queued(queue[lane], terms, mine_terms, thresholds, first_row, tile, lists, counts, p);
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
  }
}
