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

#include "knn_limit.h"
#include "score_sort.h"

#define OVERFLOW 0x80000000u  // what counts of lists that overflowed are at least

// A threadgroup keeps of a query's list what may be among the results (knn_limit.h). The highest key becomes the
// query's threshold. Behind the last pass they go to `best`, KEPT a query, filled with the threshold: no bound that was
// dropped is smaller. Threadgroup memory: 24 bytes. Bytes moved: the list once, 8 for each pair kept.
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
  uint above = p.filled != 0 ? NAN_KEY : thresholds[group.x];
  if (thread_index < 3u) {
    atomic_store_explicit(tally + thread_index, 0u, memory_order_relaxed);
  }
  if (thread_index == 0u) {
    atomic_store_explicit(&lowest, NAN_KEY, memory_order_relaxed);
  }
  ulong pairs[HELD];
  uint low = load_pairs(pairs, list, n, thread_index);
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);  // read before others write
  if (lane == 0u) {
    atomic_fetch_min_explicit(&lowest, low, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  Counter counter = {tally, 0u, thread_index, lane};
  low = atomic_load_explicit(&lowest, memory_order_relaxed);
  Cut cut = cut_list(pairs, above, low, terms[group.x].norm, counter, p);
  if (thread_index < 2u) {
    atomic_store_explicit(places + thread_index, thread_index == 0u ? 0u : cut.below, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  uint kept = min(cut.limit.found, KEPT);
  device ulong* to = p.last != 0 ? best + long(group.x) * long(KEPT) : list;
  uint unproven = float_key(-LARGEST);
#pragma unroll
  for (uint i = 0u; i < HELD; i++) {
    uint key = key_of(pairs[i]);
    if (key <= cut.limit.key) {
      uint place = cut.limit.found > KEPT && key == cut.limit.key ? 1u : 0u;
      uint at = atomic_fetch_add_explicit(places + place, 1u, memory_order_relaxed);
      if (at < KEPT) {
        to[at] = overflow && p.last != 0 ? pair_of(unproven, index_of(pairs[i])) : pairs[i];
      }
    }
  }
  for (uint i = kept + thread_index; i < KEPT && p.last != 0; i += uint(THREADS)) {
    to[i] = pair_of(overflow ? unproven : cut.above, NO_ROW);
  }
  if (thread_index == 0u) {
    counts[group.x] = kept + (overflow ? OVERFLOW : 0u);
    thresholds[group.x] = overflow ? 0u : cut.above;
    if (!overflow) {
      filters[group.x] = filter_of(terms[group.x], cut.above, p);
    }
  }
}
