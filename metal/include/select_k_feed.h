// Rows into the queue of a threadgroup.
#pragma once

#include "pair_queue.h"
#include "select_k_source.h"

#if BITS != 64

// What all rows of a launch share.
struct Feed {
  uint flip, infinity;
  uint thread_index, threads;
};

// `bits` are flipped already where the largest are wanted: see order_key.
//
// Puts the pairs of `wanted` elements, a bit each, into the buffer where they are below the last and have a place;
// returns those that had none. Element e has the index first + e / inner * outer + e % inner.
inline uint place_bits(thread PairQueue& q, thread const uint* bits, uint wanted, uint first, uint inner, uint outer,
                       thread const Feed& f) {
  if (wanted == 0u) {
    return 0u;
  }
  // There are never 2^31 rounds: without this compilers compute all pairs before the first, of rejected elements too.
  uint never = q.round >> 31;
  first += never;
#pragma unroll
  for (uint e = 0u; e < PER_THREAD; e++) {
    ulong pair = pair_of(order_key(bits[e], never, f.infinity), first + e / inner * outer + e % inner);
    wanted &= pair < q.last ? 0xffffffffu : ~(1u << e);
  }
  uint place = take_places(q, uint(popcount(wanted)));
#pragma unroll
  for (uint e = 0u; e < PER_THREAD; e++) {
    if ((wanted >> e & 1u) != 0u && place < q.room) {
      q.fresh[place] = pair_of(order_key(bits[e], never, f.infinity), first + e / inner * outer + e % inner);
      wanted &= ~(1u << e);
      place++;
    }
  }
  return wanted;
}

// Offers PER_THREAD elements a thread, by all threads; `valid` has a bit for each that exists.
inline void offer_bits(thread PairQueue& q, thread const uint* bits, uint valid, uint first, uint inner, uint outer,
                       thread const Feed& f) {
  uint limit = key_of(q.last);
  bool any = false;
#pragma unroll
  for (uint e = 0u; e < PER_THREAD; e++) {
    any = any | (low_key(bits[e], 0u) <= limit);
  }
  uint left = any ? valid : 0u;
  bool again = true;
  while (again) {
    left = place_bits(q, bits, left, first, inner, outer, f);
    again = end_round(q, f.thread_index, f.threads);
  }
}

// Elements [begin, end) of a row of any stride.
inline void feed_strided(thread PairQueue& q, device const ELEMENT* row, uint begin, uint end, long stride,
                         thread const Feed& f) {
  for (uint at = begin; at < end; at += PER_THREAD * f.threads) {
    uint bits[PER_THREAD];
    uint valid = 0u;
#pragma unroll
    for (uint e = 0u; e < PER_THREAD; e++) {
      uint i = at + e * f.threads + f.thread_index;
      bits[e] = bits_of(row[long(min(i, end - 1u)) * stride]) ^ f.flip;
      valid |= i < end ? 1u << e : 0u;
    }
    offer_bits(q, bits, valid, at + f.thread_index, 1u, f.threads, f);
  }
}

// Elements [begin, end) of a row whose elements are neighbours, `misaligned` behind a multiple of 16 bytes.
inline void feed_vectors(thread PairQueue& q, device const ELEMENT* row, uint begin, uint end, uint misaligned,
                         thread const Feed& f) {
  uint head = min(end, begin + ((0u - misaligned - begin) & (PER_VECTOR - 1u)));
  uint vectors = (end - head) / PER_VECTOR;
  device const uint4* body = (device const uint4*)(row + head);
  uint4 flip = uint4(PER_VECTOR == 8u ? f.flip | f.flip >> 16 : f.flip);
  for (uint at = 0u; at < vectors; at += VECTORS * f.threads) {
    uint bits[PER_THREAD];
    uint valid = 0u;
#pragma unroll
    for (uint u = 0u; u < VECTORS; u++) {
      uint v = at + u * f.threads + f.thread_index;
      uint4 vector = body[min(v, vectors - 1u)];  // a variable: NVRTC reads operands of vectors one by one
      unpack(vector ^ flip, bits + u * PER_VECTOR);
      valid |= v < vectors ? ((1u << PER_VECTOR) - 1u) << (u * PER_VECTOR) : 0u;
    }
    offer_bits(q, bits, valid, head + (at + f.thread_index) * PER_VECTOR, PER_VECTOR, PER_VECTOR * f.threads, f);
  }
  // What vectors do not reach: at most 7 elements on either side.
  uint tail = head + vectors * PER_VECTOR, i = begin + f.thread_index;
  i = i < head ? i : tail + (i - head);
  if (head > begin || tail < end) {
    ulong pair = i < end ? pair_of(order_key(bits_of(row[i]), f.flip, f.infinity), i) : NO_PAIR;
    offer_pair(q, pair, f.thread_index, f.threads);
  }
}

inline void feed_row(thread PairQueue& q, device const ELEMENT* row, uint begin, uint end, long stride, uint misaligned,
                     thread const Feed& f) {
  if (stride == 1) {
    feed_vectors(q, row, begin, end, misaligned, f);
  } else {
    feed_strided(q, row, begin, end, stride, f);
  }
}

#endif
