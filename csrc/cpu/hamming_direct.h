// Hamming distances from the codes as they lie: 64 bits at a time, for a few queries, where memory sets the pace.
#pragma once

#include "cpu/hamming.h"
#include "cpu/simd.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

METALFAISS_INLINE uint32_t count_ones(uint64_t x) {
#if defined(__POPCNT__) || defined(__aarch64__)
  return static_cast<uint32_t>(__builtin_popcountll(x));
#else  // the builtin would call a function
  x -= x >> 1 & 0x5555555555555555u;
  x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
  return static_cast<uint32_t>((((x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu) * 0x0101010101010101u) >> 56);
#endif
}

METALFAISS_INLINE uint64_t load_word(const uint8_t* p) {
  uint64_t x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}

// The last `bytes` (1 to 7) of a code.
METALFAISS_INLINE uint64_t load_tail(const uint8_t* p, int64_t bytes) {
  uint64_t x = 0;
  for (int64_t i = 0; i < bytes; i++) {
    x |= static_cast<uint64_t>(p[i]) << 8 * i;
  }
  return x;
}

// Distances of one query to rows [begin, begin + n); `Words` is the code's size in 64-bit words, or 0 for any size.
template <int Words, typename D>
void direct_distances_of(const HammingArgs& g, const uint8_t* query, int64_t begin, int64_t n, D* out) {
  const int64_t words = Words ? Words : g.code_size / 8, tail = Words ? 0 : g.code_size % 8;
  uint64_t q[Words ? Words : 1];
  for (int w = 0; w < Words; w++) {
    q[w] = load_word(query + 8 * w);
  }
  for (int64_t i = 0; i < n; i++) {
    const uint8_t* code = g.codes + (g.rows ? g.rows[begin + i] : begin + i) * g.code_size;
    uint32_t ones = 0;
    for (int64_t w = 0; w < words; w++) {
      ones += count_ones((Words ? q[Words ? w : 0] : load_word(query + 8 * w)) ^ load_word(code + 8 * w));
    }
    if (tail) {
      ones += count_ones(load_tail(query + 8 * words, tail) ^ load_tail(code + 8 * words, tail));
    }
    out[i] = static_cast<D>(ones);
  }
}

template <typename D>
void direct_distances(const HammingArgs& g, const uint8_t* query, int64_t begin, int64_t n, D* out) {
  switch (g.code_size) {
    case 8:
      return direct_distances_of<1>(g, query, begin, n, out);
    case 16:
      return direct_distances_of<2>(g, query, begin, n, out);
    case 32:
      return direct_distances_of<4>(g, query, begin, n, out);
    case 64:
      return direct_distances_of<8>(g, query, begin, n, out);
    default:
      return direct_distances_of<0>(g, query, begin, n, out);
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
