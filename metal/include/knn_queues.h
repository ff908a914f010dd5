// The best pairs of several queries at once: what pair_queue.h does for one, with one barrier a round for all of them.
//
// Threadgroup memory: 8 bytes for each of queries * (list + room) pairs, and queries + 3 counters. A round offers each
// query at most `fresh` pairs, half of `room` or less, so that the buffers never overflow.
#pragma once

#include "pair_sort.h"

#define QUERY_FLAGS 3u

struct QueryQueues {
  threadgroup ulong* best;           // [queries][list] sorted, padded with NO_PAIR
  threadgroup ulong* buffer;         // [queries][room]
  threadgroup atomic_uint* filled;   // [queries]
  threadgroup atomic_uint* crowded;  // [QUERY_FLAGS] this round, the last and the next: whether a buffer may overflow
  uint queries, list, room, fresh;
  uint round;
};

// By all threads, before the first round.
inline void start_queues(thread QueryQueues& q, uint thread_index, uint threads) {
  for (uint i = thread_index; i < q.queries * q.list; i += threads) {
    q.best[i] = NO_PAIR;
  }
  for (uint i = thread_index; i < q.queries; i += threads) {
    atomic_store_explicit(q.filled + i, 0u, memory_order_relaxed);
  }
  if (thread_index < QUERY_FLAGS) {
    atomic_store_explicit(q.crowded + thread_index, 0u, memory_order_relaxed);
  }
  q.round = 0u;
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

// Sorts all buffers and merges them into the lists; by all threads.
inline void merge_queues(thread QueryQueues& q, uint thread_index, uint threads) {
  uint each = max(32u, threads / q.queries), at_once = threads / each, t = thread_index % each;
  for (uint first = 0u; first < q.queries; first += at_once) {
    uint query = first + thread_index / each;
    threadgroup ulong* buffer = q.buffer + query * q.room;
    uint n = atomic_load_explicit(q.filled + query, memory_order_relaxed);
    for (uint i = n + t; i < q.room; i += each) {
      buffer[i] = NO_PAIR;
    }
    sort_pairs(buffer, q.room, t, each);
    if (t == 0u) {
      atomic_store_explicit(q.filled + query, 0u, memory_order_relaxed);
    }
    merge_pairs(q.best + query * q.list, q.list, buffer, q.room, t, each);
  }
}

// Offers a query a pair, which may be NO_PAIR.
inline void offer(thread QueryQueues& q, uint query, ulong pair) {
  if (pair < q.best[query * q.list + q.list - 1u]) {
    uint place = atomic_fetch_add_explicit(q.filled + query, 1u, memory_order_relaxed);
    q.buffer[query * q.room + place] = pair;
    if (place >= q.room - q.fresh) {
      atomic_store_explicit(q.crowded + q.round % QUERY_FLAGS, 1u, memory_order_relaxed);
    }
  }
}

// Ends a round; by all threads.
inline void end_offers(thread QueryQueues& q, uint thread_index, uint threads) {
  if (thread_index == 0u) {  // for the next round: all have read it, since they passed the barrier of the last one
    atomic_store_explicit(q.crowded + (q.round + 1u) % QUERY_FLAGS, 0u, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  bool full = atomic_load_explicit(q.crowded + q.round % QUERY_FLAGS, memory_order_relaxed) != 0u;
  q.round++;
  if (full) {
    merge_queues(q, thread_index, threads);
  }
}
