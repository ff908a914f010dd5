// Rows of pairs of any length sorted in device memory: tiles in threadgroup memory, then runs are merged two by two.
#pragma once

#include "pair_sort.h"
#include "select_k_source.h"

#define SORT_TILE 2048u

// A threadgroup sorts 2048 neighbouring elements of a row: pairs (rows, n).
// Threadgroup memory: 16 KB. Reads an element and writes 8 bytes for each.
kernel void select_k_sort_tiles(device const ELEMENT* x [[buffer(0)]], device ulong* pairs [[buffer(1)]],
                                constant SelectKParams& p [[buffer(2)]], constant SelectKSortParams& s [[buffer(3)]],
                                uint3 group [[threadgroup_position_in_grid]],
                                uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup ulong tile[SORT_TILE];
  for (long part = group.x; part < s.rows * s.tiles; part += s.groups) {
    long row = part / s.tiles;
    uint begin = uint(part % s.tiles * s.tile), n = uint(min(long(s.tile), s.n - long(begin)));
    uint padded = ceil_power_of_2(n);
    device const ELEMENT* from = x + row_offset(p, row);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = thread_index; i < padded; i += s.threads) {
      tile[i] = i < n ? pair_of_element(from[long(begin + i) * p.col_stride], begin + i, p) : NO_PAIR;
    }
    sort_pairs(tile, padded, thread_index, s.threads);
    for (uint i = thread_index; i < n; i += s.threads) {
      pairs[row * s.n + begin + i] = tile[i];
    }
  }
}

// How many of the first `count` pairs of two sorted runs merged are of a.
inline long split_runs(device const ulong* a, long n_a, device const ulong* b, long n_b, long count) {
  long low = max(0l, count - n_b), high = min(count, n_a);
  while (low < high) {
    long middle = (low + high) / 2;
    if (a[middle] < b[count - 1 - middle]) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// How many of n sorted pairs are less.
inline uint count_less(threadgroup const ulong* pairs, uint n, ulong pair) {
  uint low = 0u, high = n;
  while (low < high) {
    uint middle = (low + high) / 2u;
    if (pairs[middle] < pair) {
      low = middle + 1u;
    } else {
      high = middle;
    }
  }
  return low;
}

// A threadgroup writes 2048 neighbouring pairs of the merged runs (Odeh, Green, Mwassi, Shmueli, Birk 2012, "Merge
// Path"). Threadgroup memory: 16 KB + 16 bytes. Reads and writes 8 bytes a pair.
kernel void select_k_merge_runs(device const ulong* pairs [[buffer(0)]], device ulong* merged [[buffer(1)]],
                                constant SelectKSortParams& s [[buffer(2)]],
                                uint3 group [[threadgroup_position_in_grid]],
                                uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup ulong tile[SORT_TILE];
  threadgroup long splits[2];
  for (long part = group.x; part < s.rows * s.tiles; part += s.groups) {
    long row = part / s.tiles, begin = part % s.tiles * s.tile;
    uint n = uint(min(long(s.tile), s.n - begin));
    long first = begin / (2 * s.run) * (2 * s.run), done = begin - first;
    long n_a = min(s.run, s.n - first), n_b = min(s.run, s.n - first - n_a);
    device const ulong* a = pairs + row * s.n + first;
    device const ulong* b = a + n_a;
    if (thread_index < 2u) {
      splits[thread_index] = split_runs(a, n_a, b, n_b, thread_index == 0u ? done : done + long(n));
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    long from_a = splits[0], from_b = done - from_a;
    uint of_a = uint(splits[1] - from_a), of_b = n - of_a;
    for (uint i = thread_index; i < n; i += s.threads) {
      tile[i] = i < of_a ? a[from_a + i] : b[from_b + (i - of_a)];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    device ulong* out = merged + row * s.n + begin;
    for (uint i = thread_index; i < n; i += s.threads) {
      ulong pair = tile[i];
      uint others = i < of_a ? count_less(tile + of_a, of_b, pair) : count_less(tile, of_a, pair);
      out[i < of_a ? i + others : i - of_a + others] = pair;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
}

#if BITS != 64

// The first k of n sorted pairs a row as its result. Reads 8 bytes a pair and its value, writes both.
kernel void select_k_write(device const ulong* pairs [[buffer(0)]], device const ELEMENT* x [[buffer(1)]],
                           device ELEMENT* values [[buffer(2)]], device long* indices [[buffer(3)]],
                           constant SelectKParams& p [[buffer(4)]], constant SelectKSortParams& s [[buffer(5)]],
                           uint3 group [[threadgroup_position_in_grid]],
                           uint thread_index [[thread_index_in_threadgroup]]) {
  for (long part = group.x; part < s.rows * s.tiles; part += s.groups) {
    long row = part / s.tiles, begin = part % s.tiles * s.tile;
    uint n = uint(min(long(s.tile), long(p.k) - begin));
    device const ELEMENT* from = x + row_offset(p, row);
    for (uint i = thread_index; i < n; i += s.threads) {
      uint index = index_of(pairs[row * s.n + begin + i]);
      indices[row * p.k + begin + i] = long(index);
      values[row * p.k + begin + i] = from[long(index) * p.col_stride];
    }
  }
}

#endif
