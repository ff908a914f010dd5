// Distances of one query to a few coded rows, decoded in registers: what a list that one query probes is read by. More
// queries share rows that were decoded to memory (ivf_tile.h).
#pragma once

#include "cpu/ivf_tile.h"
#include "cpu/sq_rows.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

inline constexpr int kFusedRows = 4;

// Scores of rows as scan_tile has them, and their squared norms for inner products.
template <CodeType type, bool kInnerProduct>
METALFAISS_INLINE void fused_rows(const RowCodec& codec, const uint8_t* const* codes, const float* add,
                                  const float* query, float* scores, float* norms) {
  vf total[kFusedRows] = {}, square[kFusedRows] = {};
  int64_t d = codec.d, p = 0;
  for (; p + W <= d; p += W) {
    const vf q = load(query + p), offset = add ? load(add + p) : vf{};
#pragma GCC unroll 4
    for (int r = 0; r < kFusedRows; r++) {
      vf b = load_values<type>(codec, codes[r], p) + offset;
      vf difference = b - q;
      total[r] = kInnerProduct ? total[r] - b * q : fma(difference, difference, total[r]);
      square[r] = kInnerProduct ? fma(b, b, square[r]) : square[r];
    }
  }
  v4f sums = sum_fours(total[0], total[1], total[2], total[3]), squares{};
  if constexpr (kInnerProduct) {
    squares = sum_fours(square[0], square[1], square[2], square[3]);
  }
  for (int r = 0; r < kFusedRows; r++) {
    float score = sums[r], norm = squares[r];
    for (int64_t i = p; i < d; i++) {
      float b = value_at<type>(codec, codes[r], i) + (add ? add[i] : 0.0f);
      score += kInnerProduct ? -b * query[i] : (b - query[i]) * (b - query[i]);
      norm += b * b;
    }
    scores[r] = score;
    norms[r] = norm;
  }
}

template <CodeType type, bool kInnerProduct>
void fused_block(const RowCodec& codec, const uint8_t* const* codes, int64_t num_rows, const float* add,
                 const float* query, float* scores, float* norms) {
  for (int64_t r = 0; r < num_rows; r += kFusedRows) {
    fused_rows<type, kInnerProduct>(codec, codes + r, add, query, scores + r, norms + r);
  }
}

template <bool kInnerProduct>
void fused_block(const RowCodec& codec, const uint8_t* const* codes, int64_t num_rows, const float* add,
                 const float* query, float* scores, float* norms) {
  switch (codec.type) {
    case CodeType::u8:
      return fused_block<CodeType::u8, kInnerProduct>(codec, codes, num_rows, add, query, scores, norms);
    case CodeType::s8:
      return fused_block<CodeType::s8, kInnerProduct>(codec, codes, num_rows, add, query, scores, norms);
    case CodeType::f16:
      return fused_block<CodeType::f16, kInnerProduct>(codec, codes, num_rows, add, query, scores, norms);
    case CodeType::bf16:
      return fused_block<CodeType::bf16, kInnerProduct>(codec, codes, num_rows, add, query, scores, norms);
    case CodeType::sq6:
      return fused_block<CodeType::sq6, kInnerProduct>(codec, codes, num_rows, add, query, scores, norms);
    case CodeType::sq4:
      return fused_block<CodeType::sq4, kInnerProduct>(codec, codes, num_rows, add, query, scores, norms);
    default:
      return fused_block<CodeType::sq8, kInnerProduct>(codec, codes, num_rows, add, query, scores, norms);
  }
}

METALFAISS_INLINE bool has_fused(CodeType type) {
  return type != CodeType::f32;
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
