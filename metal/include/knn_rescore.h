// The end of a search: the rows that were found for a query are scored exactly, and what they prove.
#pragma once

#include "knn_params.h"
#include "knn_score.h"
#include "score_sort.h"

// In threadgroup memory.
struct Finish {
  threadgroup ulong* scores;       // a place a row
  threadgroup const uint* rows;    // NO_ROW: none
  threadgroup atomic_uint* found;  // one
  threadgroup ulong* kth;          // one
};

// Scores `n` rows of a query, by all threads, writes the k nearest, and flags the query unless it is sure that no other
// row is among them: `dropped` is a key that no other row's bound is below. What was written before is seen.
inline void finish_query(Finish f, uint n, uint dropped, device const float* q, device const T* b,
                         device float* distances, device long* ids, long out, device uint* flag, constant KnnParams& p,
                         uint thread_index, uint threads) {
  uint lane = thread_index % 32u;
  if (thread_index == 0u) {
    atomic_store_explicit(f.found, 0u, memory_order_relaxed);
    f.kth[0] = NO_SCORE;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint i = thread_index / 32u; i < n; i += threads / 32u) {
    uint row = f.rows[i];
    ulong score = NO_SCORE;
    if (row != NO_ROW) {
      score = exact_score(q, b + long(row) * p.b_row, p.b_col, p.d, lane);
    }
    if (lane == 0u) {
      f.scores[i] = score;
    }
  }
  bool excluded = false;
  for (int c = int(lane); c < p.d; c += 32) {
    excluded = excluded || !is_finite(q[c]);
  }
  excluded = simd_max(excluded ? 1u : 0u) != 0u;
  threadgroup_barrier(mem_flags::mem_threadgroup);

  for (uint i = thread_index; i < n; i += threads) {
    ulong score = f.scores[i];
    if (score != NO_SCORE) {
      uint rank = 0u;
      for (uint j = 0u; j < n; j++) {
        rank += is_nearer(f.scores[j], f.rows[j], score, f.rows[i]) ? 1u : 0u;
      }
      atomic_fetch_add_explicit(f.found, 1u, memory_order_relaxed);
      if (rank < uint(p.k)) {
        write_result(distances, ids, out + long(rank), score, f.rows[i]);
      }
      if (rank == uint(p.k) - 1u) {
        f.kth[0] = score;
      }
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  write_missing(distances, ids, out, atomic_load_explicit(f.found, memory_order_relaxed), uint(p.k), thread_index,
                threads);
  if (thread_index == 0u) {
    bool proven =
        dropped == NAN_KEY || excluded || (f.kth[0] != NO_SCORE && float_score_key(value_of_key(dropped)) > f.kth[0]);
    *flag = proven ? 0u : 1u;
  }
}
