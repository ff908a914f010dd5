// How the products divide their work. Everything here follows from shapes alone, so that results do not depend on the
// number of threads.
#pragma once

#include "cpu/gemm.h"
#include "cpu/integers.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

inline constexpr int64_t kBlockFloats = 32 * 1024;      // a block of A: 128 KB, a quarter of a small L2
inline constexpr int64_t kDepth = 256;                  // steps of the contraction a tile takes at once
inline constexpr int64_t kColumnBlock = 512;            // columns of the product in one pass over A
inline constexpr int64_t kTaskFlops = 1 << 20;          // 10 to 20 microseconds
inline constexpr int64_t kParts = 16;                   // most pieces of a contraction that are summed separately
inline constexpr int64_t kPartialFloats = 4 << 20;      // all partial sums of a call: 16 MB
inline constexpr int64_t kSharedPanelFloats = 1 << 18;  // a packed V that all tasks share: 1 MB

inline float* scratch_floats(Scratch slot, int64_t n) {
  return static_cast<float*>(thread_scratch(slot, sizeof(float) * n));
}

// [0, n) in equal pieces of a multiple of `unit`, the last one shorter.
struct Pieces {
  int64_t n, size, count;

  Pieces(int64_t n, int64_t wanted, int64_t unit)
      : n(n), size(round_up(ceil_div(n, at_least(wanted, 1)), unit)), count(size ? ceil_div(n, size) : 0) {}
  int64_t begin(int64_t i) const { return i * size; }
  int64_t end(int64_t i) const { return at_most(begin(i) + size, n); }
};

// Where a product goes: rows of `ld` values of `type`.
struct Output {
  void* data;
  Float type;
  int64_t ld;

  void* at(int64_t i, int64_t j) const { return static_cast<char*>(data) + (i * ld + j) * size_of(type); }
};

// Calls product(a, b, out) for every pair of the batch, `flops` operations each: in parallel over the batch where there
// are enough pairs or each is too small to be divided.
template <typename F>
void for_each_pair(const GemmArgs& g, int64_t rows, int64_t flops, F product) {
  auto one = [&](int64_t i) {
    Matrix a = g.a, b = g.b;
    if (g.batch > 1) {
      a.data = static_cast<const char*>(a.data) + g.a_offsets[i];
      b.data = static_cast<const char*>(b.data) + g.b_offsets[i];
    }
    product(a, b, Output{static_cast<char*>(g.out) + i * rows * b.cols * size_of(g.out_type), g.out_type, b.cols});
  };
  if (g.batch >= 32 || (g.batch > 1 && flops < 4 * kTaskFlops)) {
    Pieces pieces(g.batch, at_most(1 + g.batch * flops / kTaskFlops, g.batch), 1);
    parallel_for(pieces.count, [&](int64_t piece) {
      for (int64_t i = pieces.begin(piece); i < pieces.end(piece); i++) {
        one(i);
      }
    });
  } else {
    for (int64_t i = 0; i < g.batch; i++) {
      one(i);
    }
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
