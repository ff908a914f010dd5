// Where a list of pairs is cut: at a key that has as many at or below it as wanted, found by bisection.
#pragma once

#include "knn_filter.h"

#define HELD 16u  // pairs of a thread: capacity / THREADS at most
#define KEPT (2u * LIST)

// The key of a score that no fewer rows are below than bounds are below `key`: L2 alone tells how long a row may be.
inline uint widened(uint key, float query_norm, constant KnnScanParams& p) {
#if L2
  float t = (value_of_key(key) + 6.0f * p.relative * query_norm + 2.0f * p.absolute) / (1.0f - 4.0f * p.relative);
  t += abs(t) * 1e-6f;
  return t <= LARGEST ? max(key, float_key(t)) : NAN_KEY;
#else
  return key;
#endif
}

// What the threads of a threadgroup count with: `tally` has three places, of which that of the next round is emptied.
struct Counter {
  threadgroup atomic_uint* tally;
  uint round, thread_index, lane;
};

// How many keys of the threadgroup are not above `limit`. One barrier.
inline uint count_keys(thread const ulong* pairs, uint limit, thread Counter& c) {
  uint n = 0u;
#pragma unroll
  for (uint i = 0u; i < HELD; i++) {
    n += key_of(pairs[i]) <= limit ? 1u : 0u;
  }
  n = simd_sum(n);
  if (c.lane == 0u && n > 0u) {
    atomic_fetch_add_explicit(c.tally + c.round % 3u, n, memory_order_relaxed);
  }
  if (c.thread_index == 0u) {
    atomic_store_explicit(c.tally + (c.round + 1u) % 3u, 0u, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  n = atomic_load_explicit(c.tally + c.round % 3u, memory_order_relaxed);
  c.round++;
  return n;
}

// A key, and how many are not above it.
struct Limit {
  uint key, found;
};

// A limit with `least` to `most` keys, by bisection: below `limit`, which has more than `least`, and from `low` on. Of
// equal keys it has all.
inline Limit lower_limit(Limit limit, uint low, uint least, uint most, thread const ulong* pairs, thread Counter& c) {
  while (limit.found > most && low < limit.key) {
    uint middle = low + (limit.key - low) / 2u;
    uint n = count_keys(pairs, middle, c);
    if (n >= least) {
      limit.key = middle;
      limit.found = n;
    } else {
      low = middle + 1u;
    }
  }
  return limit;
}

// What is kept of a list.
struct Cut {
  Limit limit;  // those up to its key, KEPT at most
  uint above;   // no key that is dropped is smaller
  uint below;   // where there are more: those below the limit's key, which come first
};

// Cuts a list whose keys are all below `above`, and none below `low`, to what may be among the results, LIST at most,
// and some more up to KEPT. Of equal keys any may be kept: what ties with a threshold is never in a result that is
// proven.
inline Cut cut_list(thread const ulong* pairs, uint above, uint low, float query_norm, thread Counter& c,
                    constant KnnScanParams& p) {
  Cut cut;
  cut.above = above;
  cut.limit.key = min(above, NAN_KEY - 1u);
  cut.limit.found = count_keys(pairs, cut.limit.key, c);
  if (cut.limit.found >= uint(p.rank)) {
    cut.limit = lower_limit(cut.limit, low, uint(p.rank), uint(p.rank) + uint(p.rank) / 8u + 1u, pairs, c);
    cut.above = min(above, widened(cut.limit.key, query_norm, p));
    cut.limit.key = min(cut.above, NAN_KEY - 1u);
    cut.limit.found = count_keys(pairs, cut.limit.key, c);
  }
  if (cut.limit.found > KEPT) {
    cut.limit = lower_limit(cut.limit, low, LIST, KEPT, pairs, c);
    cut.above = cut.limit.key;
  }
  cut.below = cut.limit.found > KEPT ? count_keys(pairs, cut.limit.key - 1u, c) : 0u;
  return cut;
}

// The pairs of a list, each thread some, and the smallest key of the simdgroup's.
inline uint load_pairs(thread ulong* pairs, device const ulong* list, uint n, uint thread_index) {
  uint low = NAN_KEY;
#pragma unroll
  for (uint i = 0u; i < HELD; i++) {
    uint at = i * uint(THREADS) + thread_index;
    pairs[i] = at < n ? list[at] : NO_PAIR;
    low = min(low, key_of(pairs[i]));
  }
  return simd_min(low);
}
