// What a search sets up before its fast pass: scratch memory, the centre of the rows, and how each query takes part.
#pragma once

#include "cpu/integers.h"
#include "cpu/knn_candidates.h"
#include "cpu/parallel.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

inline constexpr int kCenterRows = 33;

// Splits a thread's scratch into arrays.
class Arena {
 public:
  Arena(Scratch slot, size_t bytes) : next_(static_cast<char*>(thread_scratch(slot, bytes + 1))) {}
  template <typename T>
  T* take(int64_t n) {
    char* at = next_;
    next_ += padded<T>(n);
    return reinterpret_cast<T*>(at);
  }
  template <typename T>
  static size_t padded(int64_t n) {
    return (n * sizeof(T) + 63) / 64 * 64;
  }

 private:
  char* next_;
};

// A point amid the rows: the median of a sample in every dimension, which a few enormous rows do not move.
inline void find_center(const Matrix& b, float* center) {
  int64_t n = at_most(kCenterRows, b.rows), d = b.cols;
  Arena arena(Scratch::tile, Arena::padded<float>(n * d));
  float* scratch = arena.take<float>(n * d);
  const float* rows[kCenterRows];
  for (int64_t i = 0; i < n; i++) {
    rows[i] = float_row(b, (2 * i + 1) * b.rows / (2 * n), scratch + i * d);
  }
  for (int64_t p = 0; p < d; p += W) {
    int lanes = static_cast<int>(at_most(W, d - p));
    vf sorted[kCenterRows];
    for (int64_t i = 0; i < n; i++) {
      vf x = lanes == W ? load(rows[i] + p) : load_first(rows[i] + p, lanes);
      x = select(abs(x) <= broadcast(kFloatMax), x, vf{});
      for (int64_t j = 0; j < i; j++) {
        vf smaller = min(sorted[j], x);
        x = max(sorted[j], x);
        sorted[j] = smaller;
      }
      sorted[i] = x;
    }
    store_first(center + p, sorted[n / 2], lanes);
  }
}

// `center` is null where the fast pass does not centre.
inline Query prepare_query(const float* values, const float* center, int64_t d, bool inner_product) {
  const Query excluded{values, 1, 0, 0, Pass::excluded}, exact{values, 1, 0, 0, Pass::exact};
  double square = exact_sum<true>(values, values, d);
  if (!(square < __builtin_inf())) {
    return excluded;
  }
  if (d > kLongest) {
    return exact;
  }
  if (inner_product) {
    double center2 = center ? exact_sum<true>(center, center, d) : 0;
    if (square > kLargest || square * center2 > kLargest * kLargest) {
      return exact;
    }
    double scale = 1;
    for (; square > 1; square *= 0.25) {
      scale *= 0.5;
    }
    for (; square > 0 && square <= 0.25; square *= 4) {
      scale *= 2;
    }
    return {values, scale, center ? scale * exact_score(values, center, d, true) : 0, 1, Pass::fast};
  }
  if (!center) {
    return {values, 1, 0, 0, Pass::fast};
  }
  square = exact_sum<false>(values, center, d);
  return square > kLargest ? exact : Query{values, 1, square, __builtin_sqrt(square) * (1 + 0x1p-24), Pass::fast};
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
