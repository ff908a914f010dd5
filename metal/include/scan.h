// Prefix sums over the threads of a threadgroup.
#pragma once

#define SCAN_SUMS 32  // simdgroups of a threadgroup at most

struct Scan {
  uint before, total;
};

// By all threads; `sums` has SCAN_SUMS places. Two barriers.
inline Scan scan_threads(uint value, threadgroup uint* sums, uint lane, uint simd, uint threads) {
  uint within = simd_prefix_exclusive_sum(value);
  if (lane == 31u) {
    sums[simd] = within + value;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  Scan scan;
  scan.before = within;
  scan.total = 0u;
  for (uint s = 0u; s < threads / 32u; s++) {
    scan.before += s < simd ? sums[s] : 0u;
    scan.total += sums[s];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return scan;
}
