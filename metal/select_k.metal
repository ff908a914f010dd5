// The k smallest or largest values of every row, sorted: ties by index, NaN last, exact.
//
// Up to k = 2048 a row, or a segment of a long one, goes through a queue in the memory of a threadgroup, or for short
// rows in the registers of a simdgroup (select_k_simd.h); x is read once. Beyond, radix selection: of rows
// that registers hold (select_k_radix_row.h), or of longer ones in several passes (select_k_radix.h).
// Values that are not neighbours, as in a transposed x, are read one by one: a GPU moves a whole sector for each.
#include <metal_stdlib>

using namespace metal;

#include "select_k_feed.h"
#include "select_k_filter.h"
#include "select_k_radix_row.h"
#include "select_k_simd.h"
#include "select_k_sort.h"

#if BITS != 64

// The k best pairs of a segment of a row, into `best` of the queue.
inline void select_segment(thread PairQueue& q, device const ELEMENT* x, long row, long segment,
                           constant SelectKParams& p, uint thread_index) {
  Feed f;
  f.flip = p.flip;
  f.infinity = p.infinity;
  f.thread_index = thread_index;
  f.threads = p.threads;
  long offset = row_offset(p, row);
  uint begin = uint(segment * p.length), end = uint(min(p.n, (segment + 1) * p.length));
  start_queue(q, false, thread_index, p.threads);
  feed_row(q, x + offset, begin, end, p.col_stride, p.misaligned + uint(offset), f);
  finish_queue(q, thread_index, p.threads);
}

// A row's sorted pairs as its result. Values come from x: the sign of zero and the payload of NaN survive.
inline void write_result(threadgroup const ulong* best, device const ELEMENT* x, long row, device ELEMENT* values,
                         device long* indices, constant SelectKParams& p, uint thread_index) {
  device const ELEMENT* from = x + row_offset(p, row);
  for (uint i = thread_index; i < p.k; i += p.threads) {
    uint index = index_of(best[i]);
    indices[row * p.k + i] = long(index);
    values[row * p.k + i] = from[long(index) * p.col_stride];
  }
}

// A threadgroup selects a row: 16 elements a thread between two barriers.
// Threadgroup memory: 8 (capacity + room) + 12 bytes, 24.6 KB at most. Reads x once, and k of its values again; writes
// k (8 + size of a value).
kernel void select_k_rows(device const ELEMENT* x [[buffer(0)]], device ELEMENT* values [[buffer(1)]],
                          device long* indices [[buffer(2)]], constant SelectKParams& p [[buffer(3)]],
                          threadgroup ulong* memory [[threadgroup(0)]], uint3 group [[threadgroup_position_in_grid]],
                          uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup atomic_uint counter[QUEUE_COUNTERS];
  PairQueue q = make_queue(memory, memory + p.capacity, counter, p.k, p.capacity, p.room);
  for (long row = group.x; row < p.rows; row += p.groups) {
    select_segment(q, x, row, 0, p, thread_index);
    write_result(q.best, x, row, values, indices, p, thread_index);
  }
}

// A threadgroup selects a segment of a row: pairs (rows, segments, k), sorted, padded with NO_PAIR.
// Threadgroup memory as select_k_rows. Reads x once, writes 8 k bytes a segment.
kernel void select_k_segments(device const ELEMENT* x [[buffer(0)]], device ulong* pairs [[buffer(1)]],
                              constant SelectKParams& p [[buffer(2)]], threadgroup ulong* memory [[threadgroup(0)]],
                              uint3 group [[threadgroup_position_in_grid]],
                              uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup atomic_uint counter[QUEUE_COUNTERS];
  PairQueue q = make_queue(memory, memory + p.capacity, counter, p.k, p.capacity, p.room);
  for (long part = group.x; part < p.rows * p.segments; part += p.groups) {
    select_segment(q, x, part / p.segments, part % p.segments, p, thread_index);
    for (uint i = thread_index; i < p.k; i += p.threads) {
      pairs[part * p.k + i] = q.best[i];
    }
  }
}

// The k best of `fan_in` lists of a row, into `best` of the queue.
inline void merge_lists(thread PairQueue& q, device const ulong* pairs, long row, long part,
                        constant SelectKMergeParams& p, uint thread_index) {
  device const ulong* from = pairs + (row * p.lists + part * p.fan_in) * p.k;
  long n = min(p.fan_in, p.lists - part * p.fan_in) * p.k;
  start_queue(q, false, thread_index, p.threads);
  for (long at = 0; at < n; at += p.threads) {
    offer_pair(q, at + thread_index < n ? from[at + thread_index] : NO_PAIR, thread_index, p.threads);
  }
  finish_queue(q, thread_index, p.threads);
}

// Lists of pairs to fewer lists. Threadgroup memory as select_k_rows. Reads 8 bytes a pair, writes 8 k a list.
kernel void select_k_merge_lists(device const ulong* pairs [[buffer(0)]], device ulong* merged [[buffer(1)]],
                                 constant SelectKMergeParams& p [[buffer(2)]],
                                 threadgroup ulong* memory [[threadgroup(0)]],
                                 uint3 group [[threadgroup_position_in_grid]],
                                 uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup atomic_uint counter[QUEUE_COUNTERS];
  PairQueue q = make_queue(memory, memory + p.capacity, counter, p.k, p.capacity, p.room);
  for (long part = group.x; part < p.rows * p.merged; part += p.groups) {
    merge_lists(q, pairs, part / p.merged, part % p.merged, p, thread_index);
    for (uint i = thread_index; i < p.k; i += p.threads) {
      merged[part * p.k + i] = q.best[i];
    }
  }
}

// All lists of a row to its result. Threadgroup memory as select_k_rows. Reads 8 bytes a pair and k values of x.
kernel void select_k_merge(device const ulong* pairs [[buffer(0)]], device const ELEMENT* x [[buffer(1)]],
                           device ELEMENT* values [[buffer(2)]], device long* indices [[buffer(3)]],
                           constant SelectKMergeParams& m [[buffer(4)]], constant SelectKParams& p [[buffer(5)]],
                           threadgroup ulong* memory [[threadgroup(0)]], uint3 group [[threadgroup_position_in_grid]],
                           uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup atomic_uint counter[QUEUE_COUNTERS];
  PairQueue q = make_queue(memory, memory + m.capacity, counter, m.k, m.capacity, m.room);
  for (long row = group.x; row < m.rows; row += m.groups) {
    merge_lists(q, pairs, row, 0, m, thread_index);
    write_result(q.best, x, row, values, indices, p, thread_index);
  }
}

#endif
