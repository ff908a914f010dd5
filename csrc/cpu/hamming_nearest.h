// The k nearest of codes that are shown in the order of their rows: distances are small integers, so a histogram knows
// the k-th at any time, and what is not nearer costs one comparison.
#pragma once

#include "cpu/simd.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

typedef uint16_t vh __attribute__((vector_size(4 * W)));  // 2 W lanes

// Whether any lane of a comparison is true.
METALFAISS_INLINE bool any(vh mask) {
#if defined(__AVX512F__)
  return _mm512_movepi16_mask((__m512i)mask) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_epi8((__m256i)mask) != 0;
#elif defined(__x86_64__)
  return _mm_movemask_epi8((__m128i)mask) != 0;
#elif defined(__aarch64__)
  return vmaxvq_u16((uint16x8_t)mask) != 0;
#else
  bool found = false;
  for (int i = 0; i < 2 * W; i++) {
    found |= mask[i] != 0;
  }
  return found;
#endif
}

// Calls f(i) for each i in [0, n) with d[i] < limit(), in order; f may lower the limit.
template <typename Limit, typename F>
METALFAISS_INLINE void each_below(const uint16_t* d, int64_t n, const Limit& limit, const F& f) {
  constexpr int lanes = 2 * W;
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    uint32_t most = limit();
    const vh bound = vh{} + static_cast<uint16_t>(most < 65535 ? most : 65535);
    if (any((vh)(load_as<vh>(d + i) < bound))) {
      for (int64_t j = i; j < i + lanes; j++) {
        if (d[j] < limit()) {
          f(j);
        }
      }
    }
  }
  for (; i < n; i++) {
    if (d[i] < limit()) {
      f(i);
    }
  }
}
template <typename Limit, typename F>
METALFAISS_INLINE void each_below(const uint32_t* d, int64_t n, const Limit& limit, const F& f) {
  for (int64_t i = 0; i < n; i++) {
    if (d[i] < limit()) {
      f(i);
    }
  }
}

class Nearest {
 public:
  static int64_t capacity(int64_t k, int64_t n) {
    int64_t most = 2 * k + 64;
    return n < most ? n : most;
  }
  // For k nearest of n codes with distances up to `bits`.
  static int64_t bytes(int64_t k, int64_t n, int64_t bits) {
    return static_cast<int64_t>(sizeof(uint32_t)) * (bits + 1 + 2 * capacity(k, n));
  }

  Nearest(void* memory, int64_t k, int64_t n, int64_t bits)
      : k_(k),
        capacity_(capacity(k, n)),
        limit_(static_cast<uint32_t>(bits) + 1),
        histogram_(static_cast<uint32_t*>(memory)),
        distances_(histogram_ + bits + 1),
        rows_(distances_ + capacity_) {
    __builtin_memset(histogram_, 0, sizeof(uint32_t) * (bits + 1));
  }

  // Only what is below it can be among the k nearest: of equal distances the earlier row wins.
  uint32_t limit() const { return limit_; }

  // Requires distance < limit().
  void push(uint32_t distance, uint32_t row) {
    if (count_ == capacity_) {
      compact();
    }
    distances_[count_] = distance;
    rows_[count_++] = row;
    histogram_[distance]++;
    below_++;
    while (below_ >= k_) {  // at the end: fewer than k below the limit, at least k with it
      below_ -= histogram_[--limit_];
    }
  }

  // Puts at most k of them into `to_distances` and `to_rows`, nearest first, and returns how many. Ends the use of
  // this.
  int64_t sorted(uint32_t* to_distances, uint32_t* to_rows) {
    compact();
    uint32_t at = 0;
    for (uint32_t d = 0; d < limit_; d++) {
      uint32_t n = histogram_[d];
      histogram_[d] = at;
      at += n;
    }
    for (int64_t i = 0; i < count_; i++) {
      uint32_t to = distances_[i] < limit_ ? histogram_[distances_[i]]++ : at++;
      to_distances[to] = distances_[i];
      to_rows[to] = rows_[i];
    }
    return count_;
  }

 private:
  // Drops what has fallen behind.
  void compact() {
    int64_t kept = 0, ties = k_ - below_;
    for (int64_t i = 0; i < count_; i++) {
      bool tie = distances_[i] == limit_;
      if (distances_[i] < limit_ || (tie && ties > 0)) {
        ties -= tie;
        distances_[kept] = distances_[i];
        rows_[kept++] = rows_[i];
      }
    }
    count_ = kept;
  }

  int64_t k_, capacity_, count_ = 0;
  int64_t below_ = 0;  // how many of those pushed are below the limit
  uint32_t limit_;
  uint32_t* histogram_;
  uint32_t *distances_, *rows_;
};

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
