// Exact search, row by row: all rows are scored in pairs of floats, for the queries whose results knn.metal could not
// prove, or for all where k exceeds its lists. Any k, in memory that grows with k alone.
#include <metal_stdlib>
using namespace metal;

#ifndef T
#define T float  // of xb
#endif
#ifndef L2
#define L2 1  // otherwise inner products
#endif

#include "batch.h"
#include "knn_params.h"
#include "knn_results.h"
#include "knn_score.h"
#include "score_sort.h"

#define THREADS 256u
#define SIMDGROUPS 8u

// The k nearest rows of a slab by their exact scores, for a query that is flagged or where all are wanted. A
// threadgroup of 256 takes a query and a slab; every simdgroup scores a row at a time. What is nearer than the k-th so
// far goes to the list, which is sorted when it is full. Threadgroup memory: 4 bytes. Bytes moved: the slab once for a
// query.
#define EXACT_ROWS 4u  // of a simdgroup in a round
kernel void knn_exact(device const float* xq [[buffer(0)]], device const T* xb [[buffer(1)]],
                      device const uint* flags [[buffer(2)]], device ulong* scores [[buffer(3)]],
                      device uint* rows [[buffer(4)]], constant KnnParams& p [[buffer(5)]],
                      uint3 group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
                      uint lane [[thread_index_in_simdgroup]], uint simd [[simdgroup_index_in_threadgroup]]) {
  threadgroup atomic_uint filled;
  long query = long(group.z) * long(p.num_queries) + long(group.y);
  if (p.always == 0 && flags[query] == 0u) {
    return;
  }
  long list_at = (query * long(p.slabs) + long(group.x)) * long(p.capacity);
  ScoreList list = {scores + list_at, rows + list_at};
  BatchOffsets at = batch_offsets(p.batch, group.z);
  device const float* q = xq + at.a + long(group.y) * long(p.d);
  ulong last_score = NO_SCORE;
  uint last_row = NO_ROW, n = 0u, k = uint(p.k);
  if (thread_index == 0u) {
    atomic_store_explicit(&filled, 0u, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  uint begin = group.x * uint(p.slab_rows), end = min(uint(p.nb), begin + uint(p.slab_rows));
  for (uint first = begin; first < end; first += EXACT_ROWS * SIMDGROUPS) {
    for (uint i = 0u; i < EXACT_ROWS; i++) {
      uint row = first + i * SIMDGROUPS + simd;
      if (row < end) {
        ulong score = exact_score(q, xb + at.b + long(row) * p.b_row, p.b_col, p.d, lane);
        if (lane == 0u && score != NO_SCORE && is_nearer(score, row, last_score, last_row)) {
          uint place = atomic_fetch_add_explicit(&filled, 1u, memory_order_relaxed);
          list.scores[place] = score;
          list.rows[place] = row;
        }
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    n = atomic_load_explicit(&filled, memory_order_relaxed);
    threadgroup_barrier(mem_flags::mem_threadgroup);  // before others take places
    if (n > uint(p.capacity) - EXACT_ROWS * SIMDGROUPS) {
      sort_scores(list, n, thread_index, THREADS);
      n = min(n, k);
      if (n == k) {
        last_score = list.scores[k - 1u];
        last_row = list.rows[k - 1u];
      }
      if (thread_index == 0u) {
        atomic_store_explicit(&filled, n, memory_order_relaxed);
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
    }
  }
  sort_scores(list, n, thread_index, THREADS);
  for (uint i = n + thread_index; i < k; i += THREADS) {
    list.scores[i] = NO_SCORE;
    list.rows[i] = NO_ROW;
  }
}

// A threadgroup of 256 merges the exact lists of a query into the first of them and writes the results. Threadgroup
// memory: 4 bytes. Bytes moved: 12 * k for a list, 12 for a result.
kernel void knn_exact_merge(device const uint* flags [[buffer(0)]], device ulong* scores [[buffer(1)]],
                            device uint* rows [[buffer(2)]], device float* distances [[buffer(3)]],
                            device long* ids [[buffer(4)]], constant KnnParams& p [[buffer(5)]],
                            uint3 group [[threadgroup_position_in_grid]],
                            uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup atomic_uint filled;
  long query = long(group.z) * long(p.num_queries) + long(group.x);
  if (p.always == 0 && flags[query] == 0u) {
    return;
  }
  long list_at = query * long(p.slabs) * long(p.capacity);
  ScoreList list = {scores + list_at, rows + list_at};
  uint k = uint(p.k), n = k;
  if (thread_index == 0u) {
    atomic_store_explicit(&filled, k, memory_order_relaxed);
  }
  ulong last_score = list.scores[k - 1u];
  uint last_row = list.rows[k - 1u];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int slab = 1; slab < p.slabs; slab++) {
    long other = list_at + long(slab) * long(p.capacity);
    for (uint first = 0u; first < k; first += THREADS) {
      uint i = first + thread_index;
      if (i < k && is_nearer(scores[other + long(i)], rows[other + long(i)], last_score, last_row)) {
        uint place = atomic_fetch_add_explicit(&filled, 1u, memory_order_relaxed);
        list.scores[place] = scores[other + long(i)];
        list.rows[place] = rows[other + long(i)];
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
      n = atomic_load_explicit(&filled, memory_order_relaxed);
      threadgroup_barrier(mem_flags::mem_threadgroup);
      if (n > uint(p.capacity) - THREADS) {
        sort_scores(list, n, thread_index, THREADS);
        n = k;
        last_score = list.scores[k - 1u];
        last_row = list.rows[k - 1u];
        if (thread_index == 0u) {
          atomic_store_explicit(&filled, k, memory_order_relaxed);
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
      }
    }
  }
  if (n > k) {
    sort_scores(list, n, thread_index, THREADS);
  }
  long out = (p.out_row + long(group.z) * p.out_matrix + long(group.x)) * long(p.k);
  for (uint i = thread_index; i < k; i += THREADS) {
    if (list.scores[i] != NO_SCORE) {
      write_result(distances, ids, out + long(i), list.scores[i], list.rows[i]);
    } else {
      write_missing(distances, ids, out, i, i + 1u, 0u, 1u);
    }
  }
}

// Without columns every distance is 0; without rows nothing is found. A thread a result, 12 bytes written for each.
kernel void knn_trivial(device float* distances [[buffer(0)]], device long* ids [[buffer(1)]],
                        constant KnnParams& p [[buffer(2)]], uint3 group [[threadgroup_position_in_grid]],
                        uint thread_index [[thread_index_in_threadgroup]]) {
  long at = (long(group.y) * 65535 + long(group.x)) * THREADS + long(thread_index);
  if (at < p.out_row * long(p.k)) {
    long i = at % long(p.k);
    distances[at] = i < long(p.nb) ? 0.0f : L2 ? LARGEST : -LARGEST;
    ids[at] = i < long(p.nb) ? i : -1;
  }
}
