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
#define DIM 32  // columns in threadgroup memory: a multiple of 32
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

#define STRIDE (DIM + 8)             // of rows in threadgroup memory: no two of eight start in the same banks
#define BLOCKS (DIM <= 128 ? 2 : 1)  // of 16 rows of a simdgroup
#define SIMD_ROWS (16u * BLOCKS)
#define TILE_ROWS (uint(SIMDS) * SIMD_ROWS)
#define TILE_QUERIES 64u
#define STEP_QUERIES 32u
#define QUEUE 64u  // of a simdgroup: 32 may come at once, and 32 leave
#define STEPS (DIM / 16)
#define VALUES (16 * BLOCKS)  // of a lane in a step

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
    int c = 32 * i + int(lane);
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

inline float4 load_center(device const float* center, int c, constant KnnScanParams& p) {
#if VECTORS
  return c < p.d ? *(device const float4*)(center + c) : float4(0.0f);
#else
  return float4(c < p.d ? center[c] : 0.0f, c + 1 < p.d ? center[c + 1] : 0.0f, c + 2 < p.d ? center[c + 2] : 0.0f,
                c + 3 < p.d ? center[c + 3] : 0.0f);
#endif
}

// Stages the rows of a simdgroup: four at a time, eight lanes along the columns of each.
inline void stage_rows(device const T* b, device const float* center, threadgroup half* rows,
                       threadgroup RowTerms* terms, uint tile, uint simd, uint lane, constant KnnScanParams& p) {
  uint part = lane % 8u;
#pragma unroll 2
  for (uint first = 0u; first < SIMD_ROWS; first += 4u) {
    uint i = first + lane / 8u, row = row_of_tile(tile, simd * SIMD_ROWS + i, p);
    bool valid = row < uint(p.nb);
    device const T* x = b + long(valid ? row : 0u) * p.b_row;
    float4 value[DIM / 32];
#pragma unroll
    for (int c = 0; c < DIM / 32; c++) {
      value[c] = load_columns(x, 32 * c + 4 * int(part), p);
    }
    float square_sum = 0.0f, largest = 0.0f;
#pragma unroll
    for (int c = 0; c < DIM / 32; c++) {
#if L2
      value[c] -= load_center(center, 32 * c + 4 * int(part), p);
#endif
      square_sum = fma(value[c].x, value[c].x, square_sum);
      square_sum = fma(value[c].y, value[c].y, square_sum);
      square_sum = fma(value[c].z, value[c].z, square_sum);
      square_sum = fma(value[c].w, value[c].w, square_sum);
      largest = max(max(largest, max(abs(value[c].x), abs(value[c].y))), max(abs(value[c].z), abs(value[c].w)));
    }
#pragma unroll
    for (uint distance = 1u; distance < 8u; distance *= 2u) {
      square_sum += simd_shuffle_xor(square_sum, ushort(distance));
      largest = max(largest, simd_shuffle_xor(largest, ushort(distance)));
    }
    float scale = power_of_2(shift_of(largest));
    bool bad = !valid;
    if (simd_any(!(square_sum <= LARGEST))) {  // not finite, or only its norm is not
      bool finite = true;
      for (int c = 4 * int(part); c < DIM; c += 32) {
        float4 raw = load_columns(x, c, p);
        finite = finite && is_finite(raw.x) && is_finite(raw.y) && is_finite(raw.z) && is_finite(raw.w);
      }
      uint rejected = finite ? 0u : 1u;
      for (uint distance = 1u; distance < 8u; distance *= 2u) {
        rejected |= simd_shuffle_xor(rejected, ushort(distance));
      }
      bad = bad || rejected != 0u;
    }
#pragma unroll
    for (int c = 0; c < DIM / 32; c++) {
      float4 v = value[c] * scale;
      threadgroup uint* to = (threadgroup uint*)(rows + i * STRIDE + 32u * uint(c) + 4u * part);
      to[0] = pack_halves(v.x, v.y);
      to[1] = pack_halves(v.z, v.w);
    }
    if (part == 0u) {  // for the lane of the row
      terms[i].norm = square_sum;
      terms[i].scale = largest;
      terms[i].of_norm = bad ? 1.0f : 0.0f;
    }
  }
  simdgroup_barrier(mem_flags::mem_threadgroup);
  if (lane < SIMD_ROWS) {
    RowTerms t = row_terms(terms[lane].norm, shift_of(terms[lane].scale), terms[lane].of_norm != 0.0f, p);
    if (row_of_tile(tile, simd * SIMD_ROWS + lane, p) >= uint(p.nb)) {
      t.of_norm = L2 != 0 ? INFINITY : -INFINITY;  // never passes
    }
    terms[lane] = t;
  }
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

// A threadgroup takes a tile of rows, of which each simdgroup holds 32 in registers (16 beyond 128 columns), and some
// tiles of 64 queries. Threadgroup memory, dynamic: rows and two tiles of queries, 16-bit, 16 bytes a
// row, 8 a query and 512 a simdgroup: 75 KB of 128 columns and 4 simdgroups. Bytes moved: the rows once for each group
// of query tiles; the queries, from the cache, once a tile of rows; 8 for each pair listed.
kernel void knn_scan(device const T* xb [[buffer(0)]], device const float* center [[buffer(1)]],
                     device const half* halves [[buffer(2)]], device const QueryTerms* terms [[buffer(3)]],
                     device const float2* filters [[buffer(4)]], device const uint* thresholds [[buffer(5)]],
                     device ulong* lists [[buffer(6)]], device atomic_uint* counts [[buffer(7)]],
                     constant KnnScanParams& p [[buffer(8)]], threadgroup uint4* memory [[threadgroup(0)]],
                     uint3 group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
                     uint lane [[thread_index_in_simdgroup]], uint simd [[simdgroup_index_in_threadgroup]]) {
  threadgroup half* rows = (threadgroup half*)memory;
  threadgroup half* queries = rows + TILE_ROWS * STRIDE;
  threadgroup RowTerms* row_terms = (threadgroup RowTerms*)(queries + 2u * TILE_QUERIES * STRIDE);
  threadgroup float2* staged = (threadgroup float2*)(row_terms + TILE_ROWS);
  uint first_row = simd * SIMD_ROWS, queued = 0u;
  threadgroup RowTerms* mine_terms = row_terms + first_row;
  threadgroup uint2* queue = (threadgroup uint2*)(staged + 2u * TILE_QUERIES) + simd * QUEUE;  // what passed filters

  uint tile = tile_of_pass(group.x, p);
  uint query_tiles = (uint(p.num_queries) + TILE_QUERIES - 1u) / TILE_QUERIES;
  uint begin = group.y * uint(p.query_tiles), end = min(query_tiles, begin + uint(p.query_tiles));
  stage_queries(halves, filters, queries, staged, begin * TILE_QUERIES, thread_index);
  threadgroup half* mine = rows + simd * SIMD_ROWS * STRIDE;
  stage_rows(xb + p.b_offset, center, mine, mine_terms, tile, simd, lane, p);
  simdgroup_barrier(mem_flags::mem_threadgroup);

  uint a[BLOCKS * STEPS * 4];
  float of_norm[2 * BLOCKS], of_scale[2 * BLOCKS];
#pragma unroll
  for (uint m = 0u; m < uint(BLOCKS); m++) {
    threadgroup const half* from = mine + (16u * m + lane % 16u) * STRIDE + lane / 16u * 8u;
#pragma unroll
    for (uint s = 0u; s < uint(STEPS); s++) {
      load_tiles(from + 16u * s, a + 4u * (m * STEPS + s));
    }
#pragma unroll
    for (uint h = 0u; h < 2u; h++) {
      RowTerms t = mine_terms[16u * m + 8u * h + lane / 4u];
      of_norm[2u * m + h] = t.of_norm;
      of_scale[2u * m + h] = t.of_scale;
    }
  }

  for (uint t = begin; t < end; t++) {
    await_copies();
    threadgroup_barrier(mem_flags::mem_threadgroup);
    uint buffer = (t - begin) % 2u;
    if (t + 1u < end) {
      stage_queries(halves, filters, queries + (1u - buffer) * TILE_QUERIES * STRIDE,
                    staged + (1u - buffer) * TILE_QUERIES, (t + 1u) * TILE_QUERIES, thread_index);
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
            lists[long(query) * long(p.capacity) + long(group.x * TILE_ROWS + i)] = pair;
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
}
