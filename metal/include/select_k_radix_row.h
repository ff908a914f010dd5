// Radix selection of rows that the registers of a threadgroup hold: x is read once.
#pragma once

#include "select_k_radix.h"

#if BITS != 64

#define ROW_THREADS 1024u
#define ROW_ROUNDS 4u                      // of GATHERED neighbouring elements a thread
#define ROW_KEYS (ROW_ROUNDS * GATHERED)   // that a thread holds: 16384 a row
#define ROW_BINS (MAX_BINS / ROW_THREADS)  // that a thread looks through

// Digits of the keys from the top: those of the plan of longer rows. The lower half of a 16-bit value's key says
// nothing.
#if BITS == 16
#define ROW_DIGITS 2u
constant uint DIGIT_SHIFTS[ROW_DIGITS] = {21u, 16u};
constant uint DIGIT_BITS[ROW_DIGITS] = {11u, 5u};
#else
#define ROW_DIGITS 3u
constant uint DIGIT_SHIFTS[ROW_DIGITS] = {21u, 10u, 0u};
constant uint DIGIT_BITS[ROW_DIGITS] = {11u, 11u, 10u};
#endif

// Where the elements of a thread lie: GATHERED neighbours of every round of 4096.
inline uint place_of(uint i, uint thread_index) {
  return (i / GATHERED * ROW_THREADS + thread_index) * GATHERED + i % GATHERED;
}

// Counts the values of digit d among the keys that share the digits above it.
inline void count_digit(thread const uint* keys, uint d, uint known, threadgroup atomic_uint* bins, uint thread_index) {
  for (uint b = thread_index; b < MAX_BINS; b += ROW_THREADS) {
    atomic_store_explicit(bins + b, 0u, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  uint shift = DIGIT_SHIFTS[d], bits = DIGIT_BITS[d];
  ulong above = ulong(known) >> (shift + bits);
#pragma unroll
  for (uint i = 0u; i < ROW_KEYS; i++) {
    if (ulong(keys[i]) >> (shift + bits) == above) {
      uint bin = (keys[i] >> shift) & ((1u << bits) - 1u);
      atomic_fetch_add_explicit(bins + bin, 1u, memory_order_relaxed);
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

// The bin in which a rank falls, and how many are in those before it.
inline Rank choose_bin(threadgroup atomic_uint* bins, uint rank, threadgroup uint* sums, threadgroup uint* chosen,
                       uint thread_index, uint lane, uint simd) {
  uint counts[ROW_BINS];
  uint sum = 0u;
#pragma unroll
  for (uint b = 0u; b < ROW_BINS; b++) {
    counts[b] = atomic_load_explicit(bins + thread_index * ROW_BINS + b, memory_order_relaxed);
    sum += counts[b];
  }
  Scan scan = scan_threads(sum, sums, lane, simd, ROW_THREADS);
  Rank r = find_rank(counts, ROW_BINS, scan.before, rank, thread_index * ROW_BINS);
  if (r.found) {
    chosen[0] = r.bin;
    chosen[1] = r.before;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  r.bin = chosen[0];
  r.before = chosen[1];
  return r;
}

// The pairs of the k best of a row (rows, k), as select_k_radix_gather gives them. n is 16384 at most.
// Threadgroup memory: 8.3 KB; 16 keys a thread in registers. Reads x once, writes 8 k bytes a row.
kernel void select_k_radix_row(device const ELEMENT* x [[buffer(0)]], device ulong* pairs [[buffer(1)]],
                               constant SelectKParams& p [[buffer(2)]], uint3 group [[threadgroup_position_in_grid]],
                               uint thread_index [[thread_index_in_threadgroup]],
                               uint lane [[thread_index_in_simdgroup]], uint simd [[simdgroup_index_in_threadgroup]]) {
  threadgroup atomic_uint bins[MAX_BINS];
  threadgroup uint sums[SCAN_SUMS];
  threadgroup uint chosen[2];
  uint n = uint(p.n);
  for (long row = group.x; row < p.rows; row += p.groups) {
    device const ELEMENT* from = x + row_offset(p, row);
    uint keys[ROW_KEYS];
#pragma unroll
    for (uint i = 0u; i < ROW_KEYS; i++) {
      uint at = place_of(i, thread_index);
      // What is behind the end comes after all others: it changes no rank.
      keys[i] = at < n ? key_of_element(from[long(at) * p.col_stride], p) : NAN_KEY;
    }
    uint known = 0u, rank = p.k;  // the digits of the k-th key, and its rank among the keys that have them
    for (uint d = 0u; d < ROW_DIGITS; d++) {
      count_digit(keys, d, known, bins, thread_index);
      Rank r = choose_bin(bins, rank, sums, chosen, thread_index, lane, simd);
      known |= r.bin << DIGIT_SHIFTS[d];
      rank -= r.before;
    }
    uint shift = DIGIT_SHIFTS[ROW_DIGITS - 1u];
    Places next;
    next.less = 0u;
    next.equal = p.k - rank;
#pragma unroll
    for (uint round = 0u; round < ROW_ROUNDS; round++) {
      Found f;
      f.less = 0u;
      f.equal = 0u;
#pragma unroll
      for (uint e = 0u; e < GATHERED; e++) {
        uint i = round * GATHERED + e, at = place_of(i, thread_index);
        compare_pair(f, e, at < n, pair_of(keys[i], at), known >> shift, shift);
      }
      write_found(f, scan_threads(count_found(f), sums, lane, simd, ROW_THREADS), next, pairs + row * p.k, p.k);
    }
  }
}

#endif
