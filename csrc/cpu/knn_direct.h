// The fast pass for a few queries: rows are read once, where they lie, and every query stays in the L1 cache.
//
// For L2 it sums (q - b)^2, so that its error is relative to the distance itself: with W lanes, |error| <= e t. For
// inner products it sums -q.b, q scaled to a norm of at most 1, and |b|^2 beside it: |error| <= e |b|.
#pragma once

#include "cpu/knn_candidates.h"
#include "cpu/one_row.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

inline constexpr int kDirectQueries = 4;
inline constexpr int64_t kDirectRows = 64;  // between two looks at the thresholds

METALFAISS_INLINE double direct_error(int64_t d) {
  return 1.01 * (d / W + 16) * kRound;
}

// Queries as the direct pass reads them, and what it writes.
struct DirectBlock {
  const float* queries[kDirectQueries];
  float value[kDirectQueries][kDirectRows];
  float norm2[kDirectRows];
};

template <bool kInnerProduct, int R, int Q>
struct DirectSums {
  vf sum[R][Q] = {};
  vf square[R] = {};

  METALFAISS_INLINE void add(const vf (&b)[R], const vf (&q)[Q], const vi& mask) {
    for (int r = 0; r < R; r++) {
      vf row = kInnerProduct ? select(mask, b[r], vf{}) : b[r];
      for (int i = 0; i < Q; i++) {
        vf difference = select(mask, row - q[i], vf{});
        sum[r][i] = kInnerProduct ? fma(row, q[i], sum[r][i]) : fma(difference, difference, sum[r][i]);
      }
      square[r] = kInnerProduct ? fma(row, row, square[r]) : square[r];
    }
  }
};

// Rows at[0..R) against Q queries, into column `column` of the block.
template <bool kInnerProduct, int R, int Q, typename T>
METALFAISS_INLINE void direct_rows(const T* const* at, int64_t d, DirectBlock* block, int64_t column) {
  DirectSums<kInnerProduct, R, Q> sums;
  const float* const* queries = block->queries;
  const vi all = vi{} == vi{};
  vf b[R], q[Q];
  int64_t p = 0;
  for (; p + W <= d; p += W) {
    for (int r = 0; r < R; r++) {
      b[r] = load(at[r] + p);
      __builtin_prefetch(reinterpret_cast<const char*>(at[r] + p) + 4096);
    }
    for (int i = 0; i < Q; i++) {
      q[i] = load(queries[i] + p);
    }
    sums.add(b, q, all);
  }
  if (p < d && d >= W) {  // the last W again, but for those already counted
    int counted = static_cast<int>(p + W - d);
    vi lane;
    for (int i = 0; i < W; i++) {
      lane[i] = i;
    }
    for (int r = 0; r < R; r++) {
      b[r] = load(at[r] + d - W);
    }
    for (int i = 0; i < Q; i++) {
      q[i] = load(queries[i] + d - W);
    }
    sums.add(b, q, lane >= counted);
  } else if (p < d) {
    for (int r = 0; r < R; r++) {
      b[r] = load_first(at[r], static_cast<int>(d));
    }
    for (int i = 0; i < Q; i++) {
      q[i] = load_first(queries[i], static_cast<int>(d));
    }
    sums.add(b, q, all);
  }
  for (int r = 0; r < R; r++) {
    for (int i = 0; i < Q; i++) {
      block->value[i][column + r] = sum(sums.sum[r][i]);
    }
    block->norm2[column + r] = kInnerProduct ? sum(sums.square[r]) : 0;
  }
}

template <bool kInnerProduct, typename T>
void direct_block_of_one(const Matrix& b, int64_t first, int64_t count, DirectBlock* block) {
  const T* data = static_cast<const T*>(b.data);
  for (int64_t j = 0; j < count; j++) {
    const T* row = data + b.stored_row(first + j) * b.row_stride;
    OneRow scored = one_row<kInnerProduct>(row, block->queries[0], b.cols);
    block->value[0][j] = scored.value;
    block->norm2[j] = scored.norm2;
  }
}

template <bool kInnerProduct, int Q, typename T>
void direct_block_of(const Matrix& b, int64_t first, int64_t count, DirectBlock* block) {
  constexpr int R = Q > 2 ? 2 : 4;
  const T* data = static_cast<const T*>(b.data);
  for (int64_t j = 0; j < count; j += R) {
    const T* at[R];
    for (int r = 0; r < R; r++) {
      at[r] = data + b.stored_row(first + (j + r < count ? j + r : count - 1)) * b.row_stride;
    }
    direct_rows<kInnerProduct, R, Q>(at, b.cols, block, j);
  }
}

template <bool kInnerProduct, typename T>
void direct_block(const Matrix& b, int64_t first, int64_t count, int64_t num_queries, DirectBlock* block) {
  switch (num_queries) {
    case 1:
      return direct_block_of_one<kInnerProduct, T>(b, first, count, block);
    case 2:
      return direct_block_of<kInnerProduct, 2, T>(b, first, count, block);
    default:
      return direct_block_of<kInnerProduct, 4, T>(b, first, count, block);
  }
}

// `b` has contiguous rows.
template <bool kInnerProduct>
void direct_block(const Matrix& b, int64_t first, int64_t count, int64_t num_queries, DirectBlock* block) {
  switch (b.type) {
    case Float::f16:
      return direct_block<kInnerProduct, half_t>(b, first, count, num_queries, block);
    case Float::bf16:
      return direct_block<kInnerProduct, bfloat_t>(b, first, count, num_queries, block);
    default:
      return direct_block<kInnerProduct, float>(b, first, count, num_queries, block);
  }
}

// Inserts what is within the thresholds. `scratch` holds d floats.
inline void collect_l2(const Search& s, Candidates& candidates, const DirectBlock& block, int64_t first,
                       int64_t count) {
  double error = direct_error(s.database->cols), tiny = (s.database->cols + 64) * kTiny;
  for (int64_t q = 0; q < s.num_queries; q++) {
    for (int64_t j = 0; j < count; j += W) {
      vf value = load(block.value[q] + j);
      value = select(value > broadcast(kFloatMax), broadcast(kFloatMax), value);  // NaN stays
      for (uint32_t left = bits(value <= broadcast(candidates.thresholds()[q])); left; left &= left - 1) {
        int64_t lane = j + __builtin_ctz(left);
        if (lane < count) {
          double v = block.value[q][lane];
          double above = v > kLargest ? __builtin_inf() : v * (1 + error) + tiny;
          candidates.insert(q, first + lane, round_down((v < kFloatMax ? v : kFloatMax) * (1 - error) - tiny),
                            round_up(above));
        }
      }
    }
  }
}

inline void collect_inner_product(const Search& s, Candidates& candidates, const DirectBlock& block, int64_t first,
                                  int64_t count, float* scratch) {
  double error = direct_error(s.database->cols), tiny = (s.database->cols + 64) * kTiny;
  const float largest = static_cast<float>(kLargest);
  vf max{};
  for (int64_t j = 0; j < count; j += W) {
    vf norm2 = load(block.norm2 + j);
    max = select(norm2 > max, select(norm2 <= broadcast(largest), norm2, max), max);
  }
  float max_norm2 = 0;
  for (int i = 0; i < W; i++) {
    max_norm2 = max[i] > max_norm2 ? max[i] : max_norm2;
  }
  double slack = error * __builtin_sqrt(max_norm2 * (1 + error) + tiny) + tiny;
  for (int64_t q = 0; q < s.num_queries; q++) {
    candidates.set_slack(q, slack);
    if (s.queries[q].pass != Pass::fast) {
      continue;
    }
    for (int64_t j = 0; j < count; j += W) {
      vf value = load(block.value[q] + j);
      vi near = (value <= broadcast(candidates.thresholds()[q])) | ~(load(block.norm2 + j) <= broadcast(largest));
      for (uint32_t left = bits(near); left; left &= left - 1) {
        int64_t lane = j + __builtin_ctz(left);
        if (lane >= count) {
          break;
        }
        double v = block.value[q][lane], norm2 = block.norm2[lane];
        if (norm2 <= kLargest) {
          double e = error * __builtin_sqrt(norm2 * (1 + error) + tiny) + tiny;
          candidates.insert(q, first + lane, round_down(v - e), round_up(v + e));
        } else {
          candidates.insert_exactly(q, first + lane, scratch);
        }
      }
    }
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
