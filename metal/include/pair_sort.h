// Bitonic networks over pairs in threadgroup memory. Every thread of the threadgroup calls these with the same
// arguments; `threads` is a multiple of 32.
#pragma once

#include "ordering.h"

// Before a step over distance `distance`, after one over distance `last`. Exchanges over at most 32 pairs stay within
// the 64 pairs that one simdgroup handles.
inline void step_barrier(uint last, uint distance) {
  if (last <= 32u && distance <= 32u) {
    simdgroup_barrier(mem_flags::mem_threadgroup);
  } else {
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
}

inline void exchange(threadgroup ulong* pairs, uint i, uint j) {
  ulong a = pairs[i], b = pairs[j];
  if (b < a) {
    pairs[i] = b;
    pairs[j] = a;
  }
}

// Sorts n pairs, n a power of two, in log2(n) (log2(n) + 1) / 2 steps. What was written before is seen; a barrier ends
// it.
inline void sort_pairs(threadgroup ulong* pairs, uint n, uint thread_index, uint threads) {
  uint last = 64u;
  for (uint size = 2u; size <= n; size *= 2u) {
    for (uint distance = size / 2u; distance > 0u; distance /= 2u) {
      step_barrier(last, distance);
      last = distance;
      for (uint c = thread_index; c < n / 2u; c += threads) {
        uint within = c & (distance - 1u), block = 2u * (c - within);
        uint mirrored = block + 2u * distance - 1u - within;
        exchange(pairs, block + within, 2u * distance == size ? mirrored : block + within + distance);
      }
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

// best := the n_best smallest of both, sorted, in log2(n_best) + 1 steps. Both are sorted, their lengths powers of two.
// What was written before is seen; a barrier ends it.
inline void merge_pairs(threadgroup ulong* best, uint n_best, threadgroup const ulong* fresh, uint n_fresh,
                        uint thread_index, uint threads) {
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint i = thread_index; i < min(n_best, n_fresh); i += threads) {
    uint mirrored = n_best - 1u - i;
    best[mirrored] = smaller(best[mirrored], fresh[i]);
  }
  uint last = 64u;
  for (uint distance = n_best / 2u; distance > 0u; distance /= 2u) {
    step_barrier(last, distance);
    last = distance;
    for (uint c = thread_index; c < n_best / 2u; c += threads) {
      uint within = c & (distance - 1u), i = 2u * (c - within) + within;
      exchange(best, i, i + distance);
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}
