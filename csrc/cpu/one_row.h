// One query against one row, read where it lies. Rows are read one after the other, as the processor's own prefetchers
// like them: four or six side by side are a quarter slower, and so is it to fetch rows ahead by instructions
// (benchmarks/bench_faiss.py --only "1 query").
#pragma once

#include "cpu/simd.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

struct OneRow {
  float value;  // |row - query|^2, or row . query
  float norm2;  // |row|^2, for inner products
};

template <bool kInnerProduct, typename T>
METALFAISS_INLINE OneRow one_row(const T* row, const float* query, int64_t d) {
  constexpr int kSums = 4;  // of each lane: what the latency of an addition needs
  vf total[kSums] = {}, square[kSums] = {};
  auto add = [&](int i, vf b, vf q) {
    vf difference = b - q;
    total[i] = kInnerProduct ? fma(b, q, total[i]) : fma(difference, difference, total[i]);
    square[i] = kInnerProduct ? fma(b, b, square[i]) : square[i];
  };
  int64_t p = 0;
  for (; p + kSums * W <= d; p += kSums * W) {
#pragma GCC unroll 4
    for (int i = 0; i < kSums; i++) {
      add(i, load(row + p + i * W), load(query + p + i * W));
    }
  }
  for (; p + W <= d; p += W) {
    add(0, load(row + p), load(query + p));
  }
  if (p < d) {
    int lanes = static_cast<int>(d - p);
    add(0, load_first(row + p, lanes), load_first(query + p, lanes));
  }
  vf all = (total[0] + total[1]) + (total[2] + total[3]);
  return {sum(all), kInnerProduct ? sum((square[0] + square[1]) + (square[2] + square[3])) : 0};
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
