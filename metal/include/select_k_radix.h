// Radix selection: the k-th key digit by digit from histograms, then the pairs up to it in the order of their indices.
//
// x is read once a digit (three of float32, two of 16 bits), once to count and once to gather. Counts are integers and
// places are prefix sums: nothing depends on the order in which threads run.
#pragma once

#include "scan.h"
#include "select_k_source.h"

#define MAX_BINS 2048u
#define GATHERED 4u  // neighbouring elements that a thread looks at between two barriers

// Elements [begin, end) of a row.
struct Segment {
  device const ELEMENT* row;
  uint begin, end;
};

inline Segment segment_of(device const ELEMENT* x, long part, constant SelectKParams& p) {
  long segment = part % p.segments;
  Segment s;
  s.row = x + row_offset(p, part / p.segments);
  s.begin = uint(segment * p.length);
  s.end = uint(min(p.n, (segment + 1) * p.length));
  return s;
}

// Empty histograms (rows, 2048), and of every row the state: the digits of the k-th key that are known, and its rank
// among the keys that have them. Writes 8200 bytes a row.
kernel void select_k_radix_begin(device uint* histograms [[buffer(0)]], device uint* states [[buffer(1)]],
                                 constant SelectKParams& p [[buffer(2)]], uint3 group [[threadgroup_position_in_grid]],
                                 uint thread_index [[thread_index_in_threadgroup]]) {
  for (long row = group.x; row < p.rows; row += p.groups) {
    for (uint b = thread_index; b < MAX_BINS; b += p.threads) {
      histograms[row * MAX_BINS + b] = 0u;
    }
    if (thread_index == 0u) {
      states[2 * row] = 0u;
      states[2 * row + 1] = p.k;
    }
  }
}

// Counts the values of a digit among the keys of a segment that share the digits above.
// Threadgroup memory: 8 KB. Reads x once; adds to at most 2048 counts a segment.
kernel void select_k_radix_count(device const ELEMENT* x [[buffer(0)]], device const uint* states [[buffer(1)]],
                                 device atomic_uint* histograms [[buffer(2)]], constant SelectKParams& p [[buffer(3)]],
                                 constant SelectKDigit& digit [[buffer(4)]],
                                 uint3 group [[threadgroup_position_in_grid]],
                                 uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup atomic_uint bins[MAX_BINS];
  for (long part = group.x; part < p.rows * p.segments; part += p.groups) {
    for (uint b = thread_index; b < MAX_BINS; b += p.threads) {
      atomic_store_explicit(bins + b, 0u, memory_order_relaxed);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    Segment s = segment_of(x, part, p);
    long row = part / p.segments;
    ulong known = ulong(states[2 * row]) >> (digit.shift + digit.bits);
    for (uint i = s.begin + thread_index; i < s.end; i += p.threads) {
      ulong key = key_of_element(s.row[long(i) * p.col_stride], p);
      if (key >> (digit.shift + digit.bits) == known) {
        uint bin = uint(key >> digit.shift) & ((1u << digit.bits) - 1u);
        atomic_fetch_add_explicit(bins + bin, 1u, memory_order_relaxed);
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint b = thread_index; b < MAX_BINS; b += p.threads) {
      uint count = atomic_load_explicit(bins + b, memory_order_relaxed);
      if (count > 0u) {
        atomic_fetch_add_explicit(histograms + row * MAX_BINS + b, count, memory_order_relaxed);
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
}

// Where a rank falls among the counts of bins: in those of one thread.
struct Rank {
  uint bin, before;
  bool found;
};

inline Rank find_rank(thread const uint* counts, uint per_thread, uint before, uint rank, uint first_bin) {
  Rank r;
  r.found = false;
  r.bin = 0u;
  r.before = before;
  for (uint b = 0u; b < per_thread; b++) {
    if (!r.found && rank > before && rank <= before + counts[b]) {
      r.found = true;
      r.bin = first_bin + b;
      r.before = before;
    }
    before += counts[b];
  }
  return r;
}

#define BINS_PER_THREAD 8u  // of 256 threads

// The digit of the k-th key. Empties the histogram again. 256 threads a row.
// Threadgroup memory: 128 bytes. Reads and writes 8200 bytes a row.
kernel void select_k_radix_choose(device uint* histograms [[buffer(0)]], device uint* states [[buffer(1)]],
                                  constant SelectKParams& p [[buffer(2)]], constant SelectKDigit& digit [[buffer(3)]],
                                  uint3 group [[threadgroup_position_in_grid]],
                                  uint thread_index [[thread_index_in_threadgroup]],
                                  uint lane [[thread_index_in_simdgroup]],
                                  uint simd [[simdgroup_index_in_threadgroup]]) {
  threadgroup uint sums[SCAN_SUMS];
  for (long row = group.x; row < p.rows; row += p.groups) {
    device uint* bins = histograms + row * MAX_BINS + thread_index * BINS_PER_THREAD;
    uint counts[BINS_PER_THREAD];
    uint sum = 0u;
#pragma unroll
    for (uint b = 0u; b < BINS_PER_THREAD; b++) {
      counts[b] = bins[b];
      bins[b] = 0u;
      sum += counts[b];
    }
    uint known = states[2 * row], rank = states[2 * row + 1];
    threadgroup_barrier(mem_flags::mem_device);  // all have read before one writes
    Scan scan = scan_threads(sum, sums, lane, simd, p.threads);
    Rank r = find_rank(counts, BINS_PER_THREAD, scan.before, rank, thread_index * BINS_PER_THREAD);
    if (r.found) {
      states[2 * row] = known | (r.bin << digit.shift);
      states[2 * row + 1] = rank - r.before;
    }
  }
}

// The elements of a round that this thread looks at: which are less than the k-th key, which equal to it.
struct Found {
  ulong pairs[GATHERED];
  uint less, equal;  // a bit each
};

inline void compare_pair(thread Found& f, uint e, bool valid, ulong pair, uint last, uint shift) {
  uint key = key_of(pair) >> shift;
  f.pairs[e] = pair;
  f.less |= valid && key < last ? 1u << e : 0u;
  f.equal |= valid && key == last ? 1u << e : 0u;
}

inline Found compare_elements(thread const Segment& s, uint at, uint last, uint shift, constant SelectKParams& p) {
  Found f;
  f.less = 0u;
  f.equal = 0u;
#pragma unroll
  for (uint e = 0u; e < GATHERED; e++) {
    bool valid = at + e < s.end;
    ulong pair = valid ? pair_of_element(s.row[long(at + e) * p.col_stride], at + e, p) : NO_PAIR;
    compare_pair(f, e, valid, pair, last, shift);
  }
  return f;
}

// Counts of both, in the halves of a word: a round has 4096 elements at most.
inline uint count_found(thread const Found& f) {
  return uint(popcount(f.less)) | uint(popcount(f.equal)) << 16;
}

// Where the next pairs of a row go: those less than the k-th key, and those equal to it.
struct Places {
  uint less, equal;
};

// Writes what the threads found in a round to the k pairs of their row. `scan` is that of count_found.
inline void write_found(thread const Found& f, Scan scan, thread Places& next, device ulong* pairs, uint k) {
  uint to_less = next.less + (scan.before & 0xffffu), to_equal = next.equal + (scan.before >> 16);
#pragma unroll
  for (uint e = 0u; e < GATHERED; e++) {
    bool is_less = (f.less >> e & 1u) != 0u, is_equal = (f.equal >> e & 1u) != 0u;
    uint to = is_less ? to_less : to_equal;
    if ((is_less || is_equal) && to < k) {
      pairs[to] = f.pairs[e];
    }
    to_less += is_less ? 1u : 0u;
    to_equal += is_equal ? 1u : 0u;
  }
  next.less += scan.total & 0xffffu;
  next.equal += scan.total >> 16;
}

// How many keys of every segment are less than the k-th, and how many equal to it: tallies (rows, segments, 2).
// Threadgroup memory: 128 bytes. Reads x once.
kernel void select_k_radix_tally(device const ELEMENT* x [[buffer(0)]], device const uint* states [[buffer(1)]],
                                 device uint* tallies [[buffer(2)]], constant SelectKParams& p [[buffer(3)]],
                                 constant SelectKDigit& digit [[buffer(4)]],
                                 uint3 group [[threadgroup_position_in_grid]],
                                 uint thread_index [[thread_index_in_threadgroup]],
                                 uint lane [[thread_index_in_simdgroup]],
                                 uint simd [[simdgroup_index_in_threadgroup]]) {
  threadgroup uint sums[SCAN_SUMS];
  for (long part = group.x; part < p.rows * p.segments; part += p.groups) {
    Segment s = segment_of(x, part, p);
    uint last = states[2 * (part / p.segments)] >> digit.shift;
    uint less = 0u, equal = 0u;
    for (uint at = s.begin + thread_index * GATHERED; at < s.end; at += p.threads * GATHERED) {
      Found f = compare_elements(s, at, last, digit.shift, p);
      less += uint(popcount(f.less));
      equal += uint(popcount(f.equal));
    }
    less = scan_threads(less, sums, lane, simd, p.threads).total;
    equal = scan_threads(equal, sums, lane, simd, p.threads).total;
    if (thread_index == 0u) {
      tallies[2 * part] = less;
      tallies[2 * part + 1] = equal;
    }
  }
}

// The tallies of a row become the sums of those before. Threadgroup memory: 128 bytes.
kernel void select_k_radix_offsets(device uint* tallies [[buffer(0)]], constant SelectKParams& p [[buffer(1)]],
                                   uint3 group [[threadgroup_position_in_grid]],
                                   uint thread_index [[thread_index_in_threadgroup]],
                                   uint lane [[thread_index_in_simdgroup]],
                                   uint simd [[simdgroup_index_in_threadgroup]]) {
  threadgroup uint sums[SCAN_SUMS];
  for (long row = group.x; row < p.rows; row += p.groups) {
    uint less = 0u, equal = 0u;
    for (long at = 0; at < p.segments; at += p.threads) {
      long i = 2 * (row * p.segments + at + thread_index);
      bool valid = at + thread_index < p.segments;
      Scan l = scan_threads(valid ? tallies[i] : 0u, sums, lane, simd, p.threads);
      Scan e = scan_threads(valid ? tallies[i + 1] : 0u, sums, lane, simd, p.threads);
      if (valid) {
        tallies[i] = less + l.before;
        tallies[i + 1] = equal + e.before;
      }
      less += l.total;
      equal += e.total;
    }
  }
}

// The pairs of the k best of a row (rows, k): those less than the k-th key, then of those equal to it the first, both
// in the order of the row. Threadgroup memory: 128 bytes. Reads x once, writes 8 k bytes a row.
kernel void select_k_radix_gather(device const ELEMENT* x [[buffer(0)]], device const uint* states [[buffer(1)]],
                                  device const uint* offsets [[buffer(2)]], device ulong* pairs [[buffer(3)]],
                                  constant SelectKParams& p [[buffer(4)]], constant SelectKDigit& digit [[buffer(5)]],
                                  uint3 group [[threadgroup_position_in_grid]],
                                  uint thread_index [[thread_index_in_threadgroup]],
                                  uint lane [[thread_index_in_simdgroup]],
                                  uint simd [[simdgroup_index_in_threadgroup]]) {
  threadgroup uint sums[SCAN_SUMS];
  for (long part = group.x; part < p.rows * p.segments; part += p.groups) {
    Segment s = segment_of(x, part, p);
    long row = part / p.segments;
    uint last = states[2 * row] >> digit.shift;
    Places next;
    next.less = offsets[2 * part];
    next.equal = p.k - states[2 * row + 1] + offsets[2 * part + 1];
    for (uint at = s.begin; at < s.end; at += p.threads * GATHERED) {
      Found f = compare_elements(s, at + thread_index * GATHERED, last, digit.shift, p);
      write_found(f, scan_threads(count_found(f), sums, lane, simd, p.threads), next, pairs + row * p.k, p.k);
    }
  }
}
