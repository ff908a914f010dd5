// The k best pairs of a stream that the threads of a threadgroup share. What cannot be among them any more is rejected
// by one comparison with the k-th best so far; the others are buffered, and a full buffer is sorted and merged.
//
// Threadgroup memory: 8 bytes for each of `capacity` + `room` pairs, and three counters. The order in which threads
// take places in the buffer is free: pairs are distinct, so the k best are the same whatever the order.
#pragma once

#include "pair_sort.h"

#define QUEUE_COUNTERS 3u

struct PairQueue {
  threadgroup ulong* best;           // [capacity] sorted, padded with NO_PAIR
  threadgroup ulong* fresh;          // [room], of which `filled` are taken
  threadgroup atomic_uint* counter;  // [QUEUE_COUNTERS] places taken in this round, the last and the next
  uint k, capacity, room;            // capacity and room are powers of two, k <= capacity
  uint filled, round;
  ulong last;  // the k-th best so far: only smaller pairs are wanted
};

inline PairQueue make_queue(threadgroup ulong* best, threadgroup ulong* fresh, threadgroup atomic_uint* counter, uint k,
                            uint capacity, uint room) {
  PairQueue q;
  q.best = best;
  q.fresh = fresh;
  q.counter = counter;
  q.k = k;
  q.capacity = capacity;
  q.room = room;
  q.filled = 0u;
  q.round = 0u;
  q.last = NO_PAIR;
  return q;
}

// Before the first round, by all threads: `best` was filled (sorted, padded) by the caller or is filled here with
// NO_PAIR. A queue that is used again is started again.
inline void start_queue(thread PairQueue& q, bool filled_by_caller, uint thread_index, uint threads) {
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint i = thread_index; i < q.capacity && !filled_by_caller; i += threads) {
    q.best[i] = NO_PAIR;
  }
  if (thread_index < QUEUE_COUNTERS) {
    atomic_store_explicit(q.counter + thread_index, 0u, memory_order_relaxed);
  }
  q.filled = 0u;
  q.round = 0u;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  q.last = q.best[q.k - 1u];
}

// Merges the first n pairs of the buffer into the best ones; by all threads.
inline void merge_fresh(thread PairQueue& q, uint n, uint thread_index, uint threads) {
  uint padded = ceil_power_of_2(n);
  for (uint i = n + thread_index; i < padded; i += threads) {
    q.fresh[i] = NO_PAIR;
  }
  sort_pairs(q.fresh, padded, thread_index, threads);
  merge_pairs(q.best, q.capacity, q.fresh, padded, thread_index, threads);
  q.filled = 0u;
  q.last = q.best[q.k - 1u];
}

// Takes places for `wanted` pairs of this thread: the first of them. Those from q.room on do not exist.
inline uint take_places(thread PairQueue& q, uint wanted) {
  if (wanted == 0u) {
    return q.room;
  }
  return q.filled + atomic_fetch_add_explicit(q.counter + q.round % QUEUE_COUNTERS, wanted, memory_order_relaxed);
}

// Ends a round, by all threads: true where the buffer was too small. It was merged then, and pairs that got no place
// and are still wanted (below q.last) must be offered again.
inline bool end_round(thread PairQueue& q, uint thread_index, uint threads) {
  if (thread_index == 0u) {  // for the next round: all have read it, since they passed the barrier of the last one
    atomic_store_explicit(q.counter + (q.round + 1u) % QUEUE_COUNTERS, 0u, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  uint total = q.filled + atomic_load_explicit(q.counter + q.round % QUEUE_COUNTERS, memory_order_relaxed);
  q.round++;
  if (total <= q.room) {
    q.filled = total;
    return false;
  }
  merge_fresh(q, q.room, thread_index, threads);
  return true;
}

// Offers a pair a thread (NO_PAIR for none), by all threads.
inline void offer_pair(thread PairQueue& q, ulong pair, uint thread_index, uint threads) {
  bool again = true;
  while (again) {
    bool wanted = pair < q.last;
    uint place = take_places(q, wanted ? 1u : 0u);
    if (wanted && place < q.room) {
      q.fresh[place] = pair;
      pair = NO_PAIR;
    }
    again = end_round(q, thread_index, threads);
  }
}

// After the last round, by all threads: best[0..k) are the k best, sorted.
inline void finish_queue(thread PairQueue& q, uint thread_index, uint threads) {
  if (q.filled > 0u) {
    merge_fresh(q, q.filled, thread_index, threads);
  }
}
