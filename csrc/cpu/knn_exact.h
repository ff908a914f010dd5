// Distances in float64 from the stored values, and the selection by (distance, id) that defines the result of a search.
#pragma once

#include "cpu/matrix.h"
#include "cpu/simd.h"
#include "cpu/sq_rows.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

inline constexpr float kFloatMax = 0x1.fffffep127f;

// Row i of m as float32: where it lies if it is stored so, else converted into `scratch` (m.cols floats).
template <typename T>
METALFAISS_INLINE const float* convert_row(const T* row, int64_t n, int64_t stride, float* scratch) {
  int64_t p = 0;
  if (stride == 1) {
    for (; p + W <= n; p += W) {
      store(scratch + p, load(row + p));
    }
  }
  for (; p < n; p++) {
    scratch[p] = load_one(row + p * stride);
  }
  return scratch;
}

METALFAISS_INLINE const float* float_row(const Matrix& m, int64_t i, float* scratch) {
  int64_t at = m.stored_row(i) * m.row_stride;
  switch (m.type) {
    case Float::f16:
      return convert_row(static_cast<const half_t*>(m.data) + at, m.cols, m.col_stride, scratch);
    case Float::bf16:
      return convert_row(static_cast<const bfloat_t*>(m.data) + at, m.cols, m.col_stride, scratch);
    case Float::code:
      decode_row(*m.codec, static_cast<const uint8_t*>(m.data) + at, nullptr, scratch);
      return scratch;
    default: {
      const float* row = static_cast<const float*>(m.data) + at;
      return m.col_stride == 1 ? row : convert_row(row, m.cols, m.col_stride, scratch);
    }
  }
}

template <bool kInnerProduct>
METALFAISS_INLINE vd accumulate_exact(vd q, vd b, vd sum) {
  vd difference = q - b;
  return kInnerProduct ? fma(q, b, sum) : fma(difference, difference, sum);
}

template <bool kInnerProduct>
METALFAISS_INLINE double exact_sum(const float* q, const float* b, int64_t d) {
  vd sum[4] = {};
  int64_t p = 0;
  for (; p + 4 * WD <= d; p += 4 * WD) {
    for (int i = 0; i < 4; i++) {
      sum[i] = accumulate_exact<kInnerProduct>(load_double(q + p + i * WD), load_double(b + p + i * WD), sum[i]);
    }
  }
  for (; p + WD <= d; p += WD) {
    sum[0] = accumulate_exact<kInnerProduct>(load_double(q + p), load_double(b + p), sum[0]);
  }
  double rest = 0;
  for (; p < d; p++) {
    double x = q[p], y = b[p];
    rest += kInnerProduct ? x * y : (x - y) * (x - y);
  }
  return METALFAISS_SIMD_LEVEL::sum((sum[0] + sum[1]) + (sum[2] + sum[3])) + rest;
}

// How far b is from q, smaller being nearer: the squared distance, or minus the inner product.
METALFAISS_INLINE double exact_score(const float* q, const float* b, int64_t d, bool inner_product) {
  return inner_product ? -exact_sum<true>(q, b, d) : exact_sum<false>(q, b, d);
}

// Scores that are not finite once rounded to float32 are no results.
METALFAISS_INLINE bool is_result(double score) {
  return __builtin_fabsf(static_cast<float>(score)) <= kFloatMax;
}

struct Scored {
  double score;
  int64_t id;
};

METALFAISS_INLINE bool nearer(const Scored& a, const Scored& b) {
  return a.score < b.score || (a.score == b.score && a.id < b.id);
}

// The k nearest of what is pushed, as a heap with the farthest on top.
class TopK {
 public:
  TopK(Scored* storage, int64_t k) : heap_(storage), k_(k) {}

  int64_t size() const { return size_; }
  const Scored& operator[](int64_t i) const { return heap_[i]; }

  void push(Scored x) {
    if (size_ < k_) {
      int64_t i = size_++;
      for (; i > 0 && nearer(heap_[(i - 1) / 2], x); i = (i - 1) / 2) {
        heap_[i] = heap_[(i - 1) / 2];
      }
      heap_[i] = x;
    } else if (nearer(x, heap_[0])) {
      sift_down(x, size_);
    }
  }

  void sort() {  // nearest first; nothing may be pushed any more
    for (int64_t n = size_ - 1; n > 0; n--) {
      Scored last = heap_[n];
      heap_[n] = heap_[0];
      sift_down(last, n);
    }
  }

 private:
  void sift_down(Scored x, int64_t n) {  // x replaces the top of a heap of n
    int64_t i = 0;
    for (int64_t child = 1; child < n; child = 2 * i + 1) {
      if (child + 1 < n && nearer(heap_[child], heap_[child + 1])) {
        child++;
      }
      if (!nearer(x, heap_[child])) {
        break;
      }
      heap_[i] = heap_[child];
      i = child;
    }
    heap_[i] = x;
  }

  Scored* heap_;
  int64_t k_;
  int64_t size_ = 0;
};

// Writes the k results of a query; `top` is sorted.
METALFAISS_INLINE void write_results(const TopK& top, int64_t k, bool inner_product, float* distances, int64_t* ids) {
  for (int64_t i = 0; i < k; i++) {
    bool found = i < top.size();
    float score = found ? static_cast<float>(top[i].score) : kFloatMax;
    distances[i] = inner_product ? 0.0f - score : score;  // 0 - score: never -0
    ids[i] = found ? top[i].id : -1;
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
