// Short rows, a simdgroup each: the k best are 32 * LIST sorted pairs in its registers, pair i in lane i % 32.
#pragma once

#include "select_k_source.h"

// Sorted pairs a lane, 1 or 4: k <= 32 LIST.
#ifndef LIST
#define LIST 1
#endif

#define SIMD_ROWS 8    // simdgroups of a threadgroup
#define SIMD_LOADS 4u  // elements a lane loads at once

inline ulong shuffle_xor_pair(ulong pair, ushort mask) {
  return pair_of(simd_shuffle_xor(key_of(pair), mask), simd_shuffle_xor(index_of(pair), mask));
}

// A lane keeps the smaller of its pair and its partner's where it is the lower of the two, otherwise the larger.
inline ulong exchange_lanes(ulong pair, ushort mask, uint lane) {
  ulong other = shuffle_xor_pair(pair, mask);
  return (lane < (lane ^ mask)) == (pair < other) ? pair : other;
}

// Orders a bitonic sequence of 2^steps pairs in every 2^steps lanes.
inline ulong merge_lanes_of(ulong pair, uint steps, uint lane) {
#pragma unroll
  for (uint step = steps; step > 0u; step--) {
    pair = exchange_lanes(pair, ushort(1u << (step - 1u)), lane);
  }
  return pair;
}

// 32 pairs, one a lane.
inline ulong sort_lanes(ulong pair, uint lane) {
#pragma unroll
  for (uint step = 1u; step <= 5u; step++) {
    pair = exchange_lanes(pair, ushort((1u << step) - 1u), lane);
    pair = merge_lanes_of(pair, step - 1u, lane);
  }
  return pair;
}

inline void order_pairs(thread ulong& a, thread ulong& b) {
  ulong least = smaller(a, b);
  b = a < b ? b : a;
  a = least;
}

// best := the smallest of both, sorted; `fresh` is sorted, one a lane.
inline void merge_lanes(thread ulong* best, ulong fresh, uint lane) {
  best[LIST - 1] = smaller(best[LIST - 1], shuffle_xor_pair(fresh, 31));
#if LIST == 4
  order_pairs(best[0], best[2]);
  order_pairs(best[1], best[3]);
  order_pairs(best[0], best[1]);
  order_pairs(best[2], best[3]);
#endif
#pragma unroll
  for (int r = 0; r < LIST; r++) {
    best[r] = merge_lanes_of(best[r], 5u, lane);
  }
}

// Pair i of the list, for all lanes.
inline ulong pair_at(thread const ulong* best, uint i) {
#if LIST == 4
  ulong low = (i & 32u) == 0u ? best[0] : best[1], high = (i & 32u) == 0u ? best[2] : best[3];
  ulong pair = (i & 64u) == 0u ? low : high;
#else
  ulong pair = best[0];
#endif
  ushort from = ushort(i % 32u);
  return pair_of(simd_shuffle(key_of(pair), from), simd_shuffle(index_of(pair), from));
}

#if BITS != 64

// Takes the pairs that are wanted into the buffer of the simdgroup; where it holds 32, they are merged into the list.
inline void take_pairs(thread ulong* best, thread ulong& last, thread uint& filled, threadgroup ulong* buffer,
                       ulong pair, uint k, uint lane) {
  bool wanted = pair < last;
  uint lanes = uint(ulong(simd_ballot(wanted)));
  if (wanted) {
    buffer[filled + uint(popcount(lanes & ((1u << lane) - 1u)))] = pair;
  }
  filled += uint(popcount(lanes));
  if (filled < 32u) {
    return;
  }
  simdgroup_barrier(mem_flags::mem_threadgroup);
  filled -= 32u;
  ulong fresh = buffer[lane], rest = lane < filled ? buffer[32u + lane] : NO_PAIR;
  simdgroup_barrier(mem_flags::mem_threadgroup);
  if (lane < filled) {
    buffer[lane] = rest;
  }
  merge_lanes(best, sort_lanes(fresh, lane), lane);
  last = pair_at(best, k - 1u);
}

// A simdgroup selects a row of any stride.
// Threadgroup memory: 4 KB. Registers: 2 LIST + about 20. Reads x once, and k of its values again; writes
// k (8 + size of a value).
kernel void select_k_simd(device const ELEMENT* x [[buffer(0)]], device ELEMENT* values [[buffer(1)]],
                          device long* indices [[buffer(2)]], constant SelectKParams& p [[buffer(3)]],
                          uint3 group [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]],
                          uint simd [[simdgroup_index_in_threadgroup]]) {
  threadgroup ulong buffers[64 * SIMD_ROWS];
  threadgroup ulong* buffer = buffers + 64u * simd;
  for (long row = long(group.x) * SIMD_ROWS + simd; row < p.rows; row += p.groups * SIMD_ROWS) {
    device const ELEMENT* from = x + row_offset(p, row);
    ulong best[LIST];
#pragma unroll
    for (int r = 0; r < LIST; r++) {
      best[r] = NO_PAIR;
    }
    ulong last = NO_PAIR;
    uint filled = 0u, n = uint(p.n);
    for (uint at = 0u; at < n; at += 32u * SIMD_LOADS) {
      uint bits[SIMD_LOADS];
      bool any = false;
#pragma unroll
      for (uint e = 0u; e < SIMD_LOADS; e++) {
        uint i = at + 32u * e + lane;
        bits[e] = i < n ? bits_of(from[long(i) * p.col_stride]) : 0u;
        any = any | (i < n && low_key(bits[e], p.flip) <= key_of(last));
      }
      if (ulong(simd_ballot(any)) != 0ul) {
#pragma unroll
        for (uint e = 0u; e < SIMD_LOADS; e++) {
          uint i = at + 32u * e + lane;
          ulong pair = i < n ? pair_of(order_key(bits[e], p.flip, p.infinity), i) : NO_PAIR;
          take_pairs(best, last, filled, buffer, pair, p.k, lane);
        }
      }
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
    if (filled > 0u) {
      merge_lanes(best, sort_lanes(lane < filled ? buffer[lane] : NO_PAIR, lane), lane);
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
    for (int r = 0; r < LIST; r++) {
      uint i = 32u * uint(r) + lane;
      if (i < p.k) {
        indices[row * p.k + i] = long(index_of(best[r]));
        values[row * p.k + i] = from[long(index_of(best[r])) * p.col_stride];
      }
    }
  }
}

#endif
