// The k best of a segment for k beyond threadgroup memory, when segments are much longer than k: x is read once.
//
// Pairs below a bound are appended to an area in device memory, in the order of the row; a full area shrinks to its k
// best, which lowers the bound. For random rows that happens ln(segment / k) times.
#pragma once

#include "select_k_radix.h"

#if BITS != 64

struct FilterMemory {
  threadgroup atomic_uint* bins;  // [MAX_BINS]
  threadgroup uint* sums;         // [SCAN_SUMS]
  threadgroup uint* choice;       // [2]
  uint thread_index, lane, simd, threads;
};

struct KthKey {
  uint key, rank;  // rank: how many of the keys equal to it are among the k best
};

// One digit of the k-th key of n pairs. By all threads, 256 of them.
inline KthKey choose_digit(device const ulong* pairs, uint n, KthKey known, uint shift, uint digit_bits,
                           thread const FilterMemory& m) {
  for (uint b = m.thread_index; b < MAX_BINS; b += m.threads) {
    atomic_store_explicit(m.bins + b, 0u, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint i = m.thread_index; i < n; i += m.threads) {
    ulong key = key_of(pairs[i]);
    if (key >> (shift + digit_bits) == ulong(known.key) >> (shift + digit_bits)) {
      uint bin = uint(key >> shift) & ((1u << digit_bits) - 1u);
      atomic_fetch_add_explicit(m.bins + bin, 1u, memory_order_relaxed);
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  uint counts[BINS_PER_THREAD];
  uint sum = 0u;
#pragma unroll
  for (uint b = 0u; b < BINS_PER_THREAD; b++) {
    counts[b] = atomic_load_explicit(m.bins + m.thread_index * BINS_PER_THREAD + b, memory_order_relaxed);
    sum += counts[b];
  }
  Scan scan = scan_threads(sum, m.sums, m.lane, m.simd, m.threads);
  Rank r = find_rank(counts, BINS_PER_THREAD, scan.before, known.rank, m.thread_index * BINS_PER_THREAD);
  if (r.found) {
    m.choice[0] = known.key | (r.bin << shift);
    m.choice[1] = known.rank - r.before;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  KthKey next;
  next.key = m.choice[0];
  next.rank = m.choice[1];
  return next;
}

// Copies the k best of n > k pairs to `out`, which may be `pairs`, in their order. Returns the k-th key. By all
// threads.
inline uint keep_best(device const ulong* pairs, uint n, uint k, device ulong* out, thread const FilterMemory& m) {
  threadgroup_barrier(mem_flags::mem_device);
  KthKey last;
  last.key = 0u;
  last.rank = k;
  last = choose_digit(pairs, n, last, 21u, 11u, m);
  last = choose_digit(pairs, n, last, 10u, 11u, m);
  last = choose_digit(pairs, n, last, 0u, 10u, m);
  uint less = 0u, equal = 0u;
  for (uint at = 0u; at < n; at += m.threads * GATHERED) {
    ulong mine[GATHERED];
    Found f;
    f.less = 0u;
    f.equal = 0u;
    uint first = at + m.thread_index * GATHERED;
#pragma unroll
    for (uint e = 0u; e < GATHERED; e++) {
      mine[e] = first + e < n ? pairs[first + e] : NO_PAIR;
      f.less |= key_of(mine[e]) < last.key ? 1u << e : 0u;
      f.equal |= first + e < n && key_of(mine[e]) == last.key ? 1u << e : 0u;
    }
    threadgroup_barrier(mem_flags::mem_device);  // all have read before anyone overwrites
    Scan scan = scan_threads(count_found(f), m.sums, m.lane, m.simd, m.threads);
    uint my_less = less + (scan.before & 0xffffu), my_equal = equal + (scan.before >> 16);
#pragma unroll
    for (uint e = 0u; e < GATHERED; e++) {
      bool is_less = (f.less >> e & 1u) != 0u, is_equal = (f.equal >> e & 1u) != 0u;
      if (is_less || (is_equal && my_equal < last.rank)) {
        out[my_less + min(my_equal, last.rank)] = mine[e];
      }
      my_less += is_less ? 1u : 0u;
      my_equal += is_equal ? 1u : 0u;
    }
    less += scan.total & 0xffffu;
    equal += scan.total >> 16;
  }
  threadgroup_barrier(mem_flags::mem_device);
  return last.key;
}

// The k best pairs of segments in the order of the row: lists (rows, segments, k), padded with NO_PAIR. 256 threads.
// Threadgroup memory: 8.3 KB. Reads x once, and of the area four times 8 bytes for every pair it held; writes 8 k bytes
// a segment. `areas` has p.capacity pairs for each threadgroup of the grid.
kernel void select_k_filter(device const ELEMENT* x [[buffer(0)]], device ulong* areas [[buffer(1)]],
                            device ulong* lists [[buffer(2)]], constant SelectKParams& p [[buffer(3)]],
                            uint3 group [[threadgroup_position_in_grid]],
                            uint thread_index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
                            uint simd [[simdgroup_index_in_threadgroup]]) {
  threadgroup atomic_uint bins[MAX_BINS];
  threadgroup uint sums[SCAN_SUMS];
  threadgroup uint choice[2];
  FilterMemory m;
  m.bins = bins;
  m.sums = sums;
  m.choice = choice;
  m.thread_index = thread_index;
  m.lane = lane;
  m.simd = simd;
  m.threads = p.threads;
  device ulong* area = areas + long(group.x) * p.capacity;
  for (long part = group.x; part < p.rows * p.segments; part += p.groups) {
    Segment s = segment_of(x, part, p);
    device ulong* list = lists + part * p.k;
    ulong bound = 1ul << 32;  // only keys below it are wanted
    uint filled = 0u;
    for (uint at = s.begin; at < s.end; at += p.threads * GATHERED) {
      if (filled + p.threads * GATHERED > p.capacity) {
        bound = keep_best(area, filled, p.k, area, m);
        filled = p.k;
      }
      uint first = at + thread_index * GATHERED, wanted = 0u;
      ulong mine[GATHERED];
#pragma unroll
      for (uint e = 0u; e < GATHERED; e++) {
        bool valid = first + e < s.end;
        mine[e] = valid ? pair_of_element(s.row[long(first + e) * p.col_stride], first + e, p) : NO_PAIR;
        wanted |= valid && ulong(key_of(mine[e])) < bound ? 1u << e : 0u;
      }
      Scan scan = scan_threads(uint(popcount(wanted)), sums, lane, simd, p.threads);
      uint to = filled + scan.before;
#pragma unroll
      for (uint e = 0u; e < GATHERED; e++) {
        if ((wanted >> e & 1u) != 0u) {
          area[to] = mine[e];
          to++;
        }
      }
      filled += scan.total;
    }
    if (filled > p.k) {
      keep_best(area, filled, p.k, list, m);
    } else {
      threadgroup_barrier(mem_flags::mem_device);
      for (uint i = thread_index; i < p.k; i += p.threads) {
        list[i] = i < filled ? area[i] : NO_PAIR;
      }
    }
    threadgroup_barrier(mem_flags::mem_device);  // before the area is used again
  }
}

#endif
