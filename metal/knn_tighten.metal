// What becomes of the lists of a scan (knn_scan.metal) between its passes.
#include <metal_stdlib>
using namespace metal;

#ifndef T
#define T float  // of xb
#endif
#ifndef L2
#define L2 1  // otherwise inner products
#endif
#ifndef LIST
#define LIST 32  // rows that knn_finish scores exactly
#endif
#ifndef THREADS
#define THREADS 256
#endif

#include "knn_filter.h"
#include "score_sort.h"

#define HELD 16u  // pairs of a thread: capacity / THREADS at most
#define KEPT (2u * LIST)
#define OVERFLOW 0x80000000u  // what counts of lists that overflowed are at least

// How many keys of the threadgroup are not above `limit`. One barrier; `tally` has three places, of which that of the
// next round is emptied.
inline uint count_keys(thread const ulong* pairs, uint limit, threadgroup atomic_uint* tally, thread uint& round,
                       uint thread_index, uint lane) {
  uint n = 0u;
#pragma unroll
  for (uint i = 0u; i < HELD; i++) {
    n += key_of(pairs[i]) <= limit ? 1u : 0u;
  }
  n = simd_sum(n);
  if (lane == 0u && n > 0u) {
    atomic_fetch_add_explicit(tally + round % 3u, n, memory_order_relaxed);
  }
  if (thread_index == 0u) {
    atomic_store_explicit(tally + (round + 1u) % 3u, 0u, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  n = atomic_load_explicit(tally + round % 3u, memory_order_relaxed);
  round++;
  return n;
}

// A key, and how many are not above it.
struct Limit {
  uint key, found;
};

// A limit with `least` to `most` keys, by bisection: below `limit`, which has more than `least`, and from `low` on. Of
// equal keys it has all.
inline Limit lower_limit(Limit limit, uint low, uint least, uint most, thread const ulong* pairs,
                         threadgroup atomic_uint* tally, thread uint& round, uint thread_index, uint lane) {
  while (limit.found > most && low < limit.key) {
    uint middle = low + (limit.key - low) / 2u;
    uint n = count_keys(pairs, middle, tally, round, thread_index, lane);
    if (n >= least) {
      limit.key = middle;
      limit.found = n;
    } else {
      low = middle + 1u;
    }
  }
  return limit;
}

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

// A threadgroup keeps of a query's list what may be among the results, the LIST best at most, and some more up to
// KEPT. The highest key becomes the query's threshold. Behind the last pass they go to `best`, KEPT a query, filled
// with the threshold: no bound that was dropped is smaller. Of equal keys any may be kept: what ties with a threshold
// is never in a result that is proven. Threadgroup memory: 24 bytes. Bytes moved: the list once, 8 for each pair kept.
kernel void knn_tighten(device ulong* lists [[buffer(0)]], device uint* counts [[buffer(1)]],
                        device uint* thresholds [[buffer(2)]], device ulong* best [[buffer(3)]],
                        device const QueryTerms* terms [[buffer(4)]], device float2* filters [[buffer(5)]],
                        constant KnnScanParams& p [[buffer(6)]], uint3 group [[threadgroup_position_in_grid]],
                        uint thread_index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  threadgroup atomic_uint tally[3];
  threadgroup atomic_uint places[2];
  threadgroup atomic_uint lowest;
  device ulong* list = lists + long(group.x) * long(p.capacity);
  uint count = p.filled != 0 ? uint(p.filled) : counts[group.x], n = min(count & ~OVERFLOW, uint(p.capacity));
  bool overflow = count > uint(p.capacity);
  Limit limit;  // of all pairs
  limit.key = p.filled != 0 ? NAN_KEY : thresholds[group.x];
  if (thread_index < 3u) {
    atomic_store_explicit(tally + thread_index, 0u, memory_order_relaxed);
  }
  if (thread_index == 0u) {
    atomic_store_explicit(&lowest, NAN_KEY, memory_order_relaxed);
  }
  ulong pairs[HELD];
  uint low = NAN_KEY;
#pragma unroll
  for (uint i = 0u; i < HELD; i++) {
    uint at = i * uint(THREADS) + thread_index;
    pairs[i] = at < n ? list[at] : NO_PAIR;
    low = min(low, key_of(pairs[i]));
  }
  low = simd_min(low);
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);  // read before others write
  if (lane == 0u) {
    atomic_fetch_min_explicit(&lowest, low, memory_order_relaxed);
  }
  uint round = 0u, above = limit.key;
  limit.key = min(limit.key, NAN_KEY - 1u);
  limit.found = count_keys(pairs, limit.key, tally, round, thread_index, lane);
  low = atomic_load_explicit(&lowest, memory_order_relaxed);
  if (limit.found >= uint(p.rank)) {
    limit = lower_limit(limit, low, uint(p.rank), uint(p.rank) + uint(p.rank) / 8u + 1u, pairs, tally, round,
                        thread_index, lane);
    above = min(above, widened(limit.key, p.filtered != 0 ? terms[group.x].norm : 0.0f, p));
    limit.key = min(above, NAN_KEY - 1u);
    limit.found = count_keys(pairs, limit.key, tally, round, thread_index, lane);
  }
  if (limit.found > KEPT) {
    limit = lower_limit(limit, low, LIST, KEPT, pairs, tally, round, thread_index, lane);
    above = limit.key;
  }
  // Those below the highest key come first: all of them have room.
  uint below = limit.found > KEPT ? count_keys(pairs, limit.key - 1u, tally, round, thread_index, lane) : 0u;
  if (thread_index < 2u) {
    atomic_store_explicit(places + thread_index, thread_index == 0u ? 0u : below, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  uint kept = min(limit.found, KEPT);
  device ulong* to = p.last != 0 ? best + long(group.x) * long(KEPT) : list;
  uint unproven = float_key(-LARGEST);
#pragma unroll
  for (uint i = 0u; i < HELD; i++) {
    uint key = key_of(pairs[i]);
    if (key <= limit.key) {
      uint place = limit.found > KEPT && key == limit.key ? 1u : 0u;
      uint at = atomic_fetch_add_explicit(places + place, 1u, memory_order_relaxed);
      if (at < KEPT) {
        to[at] = overflow && p.last != 0 ? pair_of(unproven, index_of(pairs[i])) : pairs[i];
      }
    }
  }
  for (uint i = kept + thread_index; i < KEPT && p.last != 0; i += uint(THREADS)) {
    to[i] = pair_of(overflow ? unproven : above, NO_ROW);
  }
  if (thread_index == 0u) {
    counts[group.x] = kept + (overflow ? OVERFLOW : 0u);
    thresholds[group.x] = overflow ? 0u : above;
    if (p.filtered != 0 && !overflow) {
      filters[group.x] = filter_of(terms[group.x], above, p);
    }
  }
}
