// Exact search: the k nearest rows of xb (..., nb, d) for every row of xq (..., nq, d). csrc/gpu/plans/knn.cpp says
// which kernels run.
//
// An approximate pass in float32 gives every row a bound that its exact score is not below, and keeps the LIST rows
// with the smallest bounds: knn_direct for few queries, knn_center, knn_prepare, MLX's product and knn_select for many.
// knn_finish scores those again in pairs of floats. Its result is proven where the k-th exact score is below every
// bound that was dropped. Elsewhere, and where k exceeds the lists, knn_exact and knn_exact_merge score all rows that
// way.
#include <metal_stdlib>
using namespace metal;

#ifndef T
#define T float  // of xb
#endif
#ifndef L2
#define L2 1  // otherwise inner products
#endif
#ifndef QUERIES
#define QUERIES 1  // of a threadgroup of knn_direct: 1, 4 or 16
#endif
#ifndef LIST
#define LIST 32  // rows kept for a query: a power of two
#endif

#include "batch.h"
#include "knn_params.h"
#include "knn_queues.h"
#include "knn_rescore.h"
#include "pair_queue.h"
#include "transposed_sum.h"

#define THREADS 256u
#define SIMDGROUPS 8u
#define ROWS (32u / QUERIES)  // of a simdgroup in a round of knn_direct

// Few queries: a threadgroup of 256 takes a slab of rows and QUERIES queries, and lists the LIST rows with the smallest
// bounds. Every simdgroup computes 32 scores a round, its lanes along the columns: 32 / QUERIES rows, read once.
// Threadgroup memory: 8 * QUERIES * (LIST + room), room being 512, 128 and 64 pairs for 1, 4 and 16 queries: 4.3 KB to
// 24.1 KB. Bytes moved: the slab once; d * 4 for a query and slab, 8 * LIST written.
#if QUERIES == 1
#define ROOM 512u
#elif QUERIES == 4
#define ROOM 128u
#else
#define ROOM 64u
#endif
kernel void knn_direct(device const float* xq [[buffer(0)]], device const T* xb [[buffer(1)]],
                       device ulong* lists [[buffer(2)]], constant KnnParams& p [[buffer(3)]],
                       uint3 group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
                       uint lane [[thread_index_in_simdgroup]], uint simd [[simdgroup_index_in_threadgroup]]) {
  threadgroup ulong best[QUERIES * LIST];
  threadgroup ulong buffer[QUERIES * ROOM];
  threadgroup atomic_uint filled[QUERIES];
  threadgroup atomic_uint crowded[QUERY_FLAGS];
  threadgroup float norm[QUERIES];
  QueryQueues queues = {best, buffer, filled, crowded, QUERIES, LIST, ROOM, SIMDGROUPS * ROWS, 0u};

  BatchOffsets at = batch_offsets(p.batch, group.z);
  uint first_query = group.y * QUERIES, num_queries = min(uint(QUERIES), uint(p.num_queries) - first_query);
  device const float* queries = xq + at.a + long(first_query) * long(p.d);
  device const T* b = xb + at.b;
#if !L2
  for (uint q = simd; q < QUERIES; q += SIMDGROUPS) {
    float square_sum = 0.0f;
    for (int c = int(lane); c < p.d && q < num_queries; c += 32) {
      float x = queries[long(q) * long(p.d) + long(c)];
      square_sum = fma(x, x, square_sum);
    }
    square_sum = simd_sum(square_sum);
    if (lane == 0u) {
      norm[q] = sqrt(square_sum + p.absolute);
    }
  }
#endif
  start_queues(queues, thread_index, THREADS);

  uint begin = group.x * uint(p.slab_rows), end = min(uint(p.nb), begin + uint(p.slab_rows));
  for (uint first = begin; first < end; first += SIMDGROUPS * ROWS) {
    uint row = first + simd * ROWS;
    if (row < end) {
      float score[32];
      float square_sum[ROWS];
#pragma unroll
      for (uint i = 0; i < 32u; i++) {
        score[i] = 0.0f;
      }
#pragma unroll
      for (uint r = 0; r < ROWS; r++) {
        square_sum[r] = 0.0f;
      }
      uint last_row = min(uint(ROWS), end - row) - 1u;
      for (int c = int(lane); c < p.d; c += 32) {
        float query[QUERIES];
#pragma unroll
        for (uint q = 0; q < uint(QUERIES); q++) {
          query[q] = queries[long(min(q, num_queries - 1u)) * long(p.d) + long(c)];
        }
#pragma unroll
        for (uint r = 0; r < ROWS; r++) {
          float x = float(b[long(row + min(r, last_row)) * p.b_row + long(c) * p.b_col]);
#pragma unroll
          for (uint q = 0; q < uint(QUERIES); q++) {
#if L2
            float difference = query[q] - x;
            score[r * QUERIES + q] = fma(difference, difference, score[r * QUERIES + q]);
#else
            score[r * QUERIES + q] = fma(query[q], -x, score[r * QUERIES + q]);
#endif
          }
#if !L2
          square_sum[r] = fma(x, x, square_sum[r]);
#endif
        }
      }
      uint q = lane % QUERIES;
      row += lane / QUERIES;
      float s = transposed_sum(score, 32u, lane);
#if L2
      bool is_number = !isnan(s);
      s = min(s, LARGEST);
      float bound = s - s * p.relative - p.absolute;
#else
      float square = transposed_sum(square_sum, ROWS, lane);
      bool is_number = !isnan(square);
      float bound = bounded_below(s - p.relative * norm[q] * sqrt(square + p.absolute) - p.absolute);
#endif
      if (q < num_queries && row < end && is_number) {
        offer(queues, q, pair_of(float_key(bound), row));
      }
    }
    end_offers(queues, thread_index, THREADS);
  }
  merge_queues(queues, thread_index, THREADS);
  for (uint i = thread_index; i < num_queries * LIST; i += THREADS) {
    long query = long(group.z) * long(p.num_queries) + long(first_query + i / LIST);
    lists[(query * long(p.slabs) + long(group.x)) * LIST + long(i % LIST)] = best[i];
  }
}

// A point amid the rows: in every column the median of a sample, which a few enormous rows do not move. A simdgroup
// takes a column, its lanes 32 rows; a threadgroup of 256 eight columns. Threadgroup memory: none. Bytes moved: 32
// elements read, 4 written for a column.
kernel void knn_center(device const T* xb [[buffer(0)]], device float* center [[buffer(1)]],
                       constant KnnPrepareParams& p [[buffer(2)]], uint3 group [[threadgroup_position_in_grid]],
                       uint lane [[thread_index_in_simdgroup]], uint simd [[simdgroup_index_in_threadgroup]]) {
  long column = long(group.x) * SIMDGROUPS + long(simd);
  if (column >= long(p.d)) {
    return;
  }
  long row = (2 * long(lane) + 1) * long(p.rows) / 64;
  float x = float(xb[p.offset + row * p.row + column * p.col]);
  x = is_finite(x) ? x : 0.0f;
  uint rank = 0u;
  for (uint other = 0u; other < 32u; other++) {
    float y = simd_shuffle(x, ushort(other));
    rank += y < x || (y == x && other < lane) ? 1u : 0u;
  }
  if (rank == 16u) {
    center[column] = x;
  }
}

// Rows as the product takes them, float32 and centred, and their norms; NaN for rows that are not finite. A simdgroup
// takes a row, a threadgroup of 256 eight. Threadgroup memory: none. Bytes moved: each element read once, 4 bytes
// written for it.
kernel void knn_prepare(device const T* x [[buffer(0)]], device const float* center [[buffer(1)]],
                        device float* out [[buffer(2)]], device float* norms [[buffer(3)]],
                        constant KnnPrepareParams& p [[buffer(4)]], uint3 group [[threadgroup_position_in_grid]],
                        uint lane [[thread_index_in_simdgroup]], uint simd [[simdgroup_index_in_threadgroup]]) {
  long row = long(group.x) * SIMDGROUPS + long(simd);
  if (row >= long(p.rows)) {
    return;
  }
  float square_sum = 0.0f;
  bool finite = true;
  for (int c = int(lane); c < p.d; c += 32) {
    float value = float(x[p.offset + row * p.row + long(c) * p.col]);
    finite = finite && is_finite(value);
    value = p.centred != 0 ? value - center[c] : value;
    square_sum = fma(value, value, square_sum);
    if (p.copied != 0) {
      out[row * long(p.d) + long(c)] = value;
    }
  }
  square_sum = simd_sum(square_sum);
  bool bad = simd_max(finite ? 0u : 1u) != 0u;
  float norm = p.root != 0 ? sqrt(square_sum + p.absolute) : square_sum;
  if (lane == 0u) {
    norms[row] = bad ? as_type<float>(0x7fc00000u) : norm;
  }
}

// Many queries: a threadgroup of 256 takes a query and a segment of a chunk's scores, and merges the rows with the
// smallest bounds into the query's list for that segment. Threadgroup memory: 8 * (LIST + 1024), 8.4 to 24.6 KB. Bytes
// moved: 4 for a score and 4 for a norm, and 16 * LIST for the list.
#define EACH 4u  // scores of a thread in a round
kernel void knn_select(device const float* scores [[buffer(0)]], device const float* query_norms [[buffer(1)]],
                       device const float* row_norms [[buffer(2)]], device ulong* lists [[buffer(3)]],
                       constant KnnSelectParams& p [[buffer(4)]], uint3 group [[threadgroup_position_in_grid]],
                       uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup ulong best[LIST];
  threadgroup ulong fresh[EACH * THREADS];
  threadgroup atomic_uint counters[QUEUE_COUNTERS];
  long list = (long(group.y) * long(p.segments) + long(group.x)) * LIST;
  for (uint i = thread_index; i < LIST; i += THREADS) {
    best[i] = p.fresh != 0 ? NO_PAIR : lists[list + long(i)];
  }
  PairQueue queue = make_queue(best, fresh, counters, LIST, LIST, EACH * THREADS);
  start_queue(queue, true, thread_index, THREADS);
  float query_norm = query_norms[group.y];
  uint begin = group.x * uint(p.segment_rows), end = min(uint(p.rows), begin + uint(p.segment_rows));
  for (uint first = begin; first < end; first += EACH * THREADS) {
    ulong pending[EACH];
#pragma unroll
    for (uint i = 0; i < EACH; i++) {
      uint row = first + i * THREADS + thread_index;
      pending[i] = NO_PAIR;
      if (row < end) {
        float product = scores[long(group.y) * long(p.rows) + long(row)], norm = row_norms[row];
#if L2
        float sum = query_norm + norm;
        float bound = sum - sum * p.relative - 2.0f * product - p.absolute;
        // A row so far away that its norm overflows is beyond 2^127 from a query of moderate norm.
        bound = norm > LARGEST && query_norm < 8e34f ? 1.7e38f : bounded_below(bound);
#else
        float bound = bounded_below(-product - p.relative * query_norm * norm - p.absolute);
#endif
        pending[i] = isnan(norm) ? NO_PAIR : pair_of(float_key(bound), uint(p.first_row) + row);
      }
    }
    bool again = true;
    while (again) {
      uint wanted = 0u;
#pragma unroll
      for (uint i = 0; i < EACH; i++) {
        wanted += pending[i] < queue.last ? 1u : 0u;
      }
      uint place = take_places(queue, wanted);
#pragma unroll
      for (uint i = 0; i < EACH; i++) {
        if (pending[i] < queue.last && place < queue.room) {
          fresh[place] = pending[i];
          pending[i] = NO_PAIR;
          place++;
        }
      }
      again = end_round(queue, thread_index, THREADS);
    }
  }
  finish_queue(queue, thread_index, THREADS);
  for (uint i = thread_index; i < LIST; i += THREADS) {
    lists[list + long(i)] = best[i];
  }
}

// A threadgroup of 256 merges the lists of a query, scores what is left exactly, writes the results, and flags the
// query where they are not proven. Threadgroup memory: 12 * LIST + 4096, 4.5 to 28.7 KB. Bytes moved: 8 * LIST for a
// list, d elements for each of LIST rows, 12 written for a result.
#define FINISH_ROOM 512u
kernel void knn_finish(device const float* xq [[buffer(0)]], device const T* xb [[buffer(1)]],
                       device const ulong* lists [[buffer(2)]], device float* distances [[buffer(3)]],
                       device long* ids [[buffer(4)]], device uint* flags [[buffer(5)]],
                       constant KnnParams& p [[buffer(6)]], uint3 group [[threadgroup_position_in_grid]],
                       uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup ulong best[LIST];  // pairs, then exact scores
  threadgroup ulong fresh[FINISH_ROOM];
  threadgroup uint rows[LIST];
  threadgroup atomic_uint counters[QUEUE_COUNTERS];
  threadgroup atomic_uint num_found;
  threadgroup ulong kth[1];
  long query = long(group.z) * long(p.num_queries) + long(group.x);
  PairQueue queue = make_queue(best, fresh, counters, LIST, LIST, FINISH_ROOM);
  start_queue(queue, false, thread_index, THREADS);
  uint total = uint(p.slabs) * LIST;
  for (uint first = 0u; first < total; first += THREADS) {
    uint i = first + thread_index;
    offer_pair(queue, i < total ? lists[query * long(p.slabs) * LIST + long(i)] : NO_PAIR, thread_index, THREADS);
  }
  finish_queue(queue, thread_index, THREADS);

  uint dropped = key_of(best[LIST - 1]);  // no bound that was dropped is smaller
  for (uint i = thread_index; i < LIST; i += THREADS) {
    rows[i] = best[i] == NO_PAIR ? NO_ROW : index_of(best[i]);
  }
  BatchOffsets at = batch_offsets(p.batch, group.z);
  Finish finish = {best, rows, &num_found, kth};
  finish_query(finish, LIST, dropped, xq + at.a + long(group.x) * long(p.d), xb + at.b, distances, ids,
               (p.out_row + long(group.z) * p.out_matrix + long(group.x)) * long(p.k), flags + query, p, thread_index,
               THREADS);
}
