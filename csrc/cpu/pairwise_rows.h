// Distances where one of the two sets is small: vectors are read once, where they lie, along their columns.
#pragma once

#include "cpu/gemm_pack.h"
#include "cpu/pairwise_distances.h"
#include "cpu/parallel.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

// Columns that pass at once. A lane sums at most kRowsDepth / 4 squares: with the additions of lanes and of parts, the
// relative error of a squared distance stays below (kRowsDepth / 4 + 8 + d / kRowsDepth) 2^-24, 1e-5 up to d = 16000.
inline constexpr int64_t kRowsDepth = 512;
inline constexpr int64_t kRowsQueries = 128;  // of a task
inline constexpr int64_t kRowsVectors = 256;
inline constexpr int64_t kRowsBlock = 64;  // vectors that pass a tile's queries while these are in the L1 cache

// Vectors b of a tile that has mq queries: enough sums to hide the latency of a multiply-add, few enough for registers.
constexpr int tile_vectors(int mq) {
  return (kVectorRegisters == 32 ? 16 : 8) / mq;
}

struct Rows {
  const float* data;
  int64_t ld;
};

template <bool L2, int MQ, int NB>
struct DistanceTile {
  vf sums[MQ][NB];

  METALFAISS_INLINE void zero() {
#pragma GCC unroll 4
    for (int r = 0; r < MQ; r++) {
#pragma GCC unroll 16
      for (int s = 0; s < NB; s++) {
        sums[r][s] = vf{};
      }
    }
  }

  // Lanes of `mask` only.
  template <bool Masked>
  METALFAISS_INLINE void step(const float* const (&q)[MQ], const float* const (&b)[NB], int64_t p, vi mask) {
    vf y[NB];
#pragma GCC unroll 16
    for (int s = 0; s < NB; s++) {
      y[s] = load(b[s] + p);
    }
#pragma GCC unroll 4
    for (int r = 0; r < MQ; r++) {
      vf x = load(q[r] + p);
#pragma GCC unroll 16
      for (int s = 0; s < NB; s++) {
        vf left = L2 ? x - y[s] : x, right = L2 ? left : y[s];
        if constexpr (Masked) {
          left = select(mask, left, vf{});
          right = select(mask, right, vf{});
        }
        sums[r][s] = fma(left, right, sums[r][s]);
      }
    }
  }
};

// c (+)= the distances of MQ queries and the first `count` of NB vectors, over n >= W columns.
template <bool L2, int MQ, int NB>
__attribute__((noinline)) void distance_tile(Rows q, Rows b, int count, int64_t n, float* c, int64_t ldc,
                                             bool accumulate) {
  const float *qs[MQ], *bs[NB];
#pragma GCC unroll 4
  for (int r = 0; r < MQ; r++) {
    qs[r] = q.data + r * q.ld;
  }
#pragma GCC unroll 16
  for (int s = 0; s < NB; s++) {
    bs[s] = b.data + (s < count ? s : count - 1) * b.ld;
  }
  DistanceTile<L2, MQ, NB> tile;
  tile.zero();
  int64_t p = 0;
  for (; p + W <= n; p += W) {
    tile.template step<false>(qs, bs, p, vi{});
  }
  if (p < n) {  // the last W columns, without those that were summed already
    vi lane;
    for (int i = 0; i < W; i++) {
      lane[i] = i;
    }
    tile.template step<true>(qs, bs, n - W, lane >= static_cast<int32_t>(W - (n - p)));
  }
#pragma GCC unroll 4
  for (int r = 0; r < MQ; r++) {
    for (int s = 0; s < count; s++) {
      float distance = sum(tile.sums[r][s]);
      c[r * ldc + s] = accumulate ? c[r * ldc + s] + distance : distance;
    }
  }
}

template <bool L2, int MQ>
void distance_rows(Rows q, Rows b, int64_t vectors, int64_t n, float* c, int64_t ldc, bool accumulate) {
  constexpr int NB = tile_vectors(MQ);
  for (int64_t j = 0; j < vectors; j += NB) {
    int count = vectors - j < NB ? static_cast<int>(vectors - j) : NB;
    distance_tile<L2, MQ, NB>(q, {b.data + j * b.ld, b.ld}, count, n, c + j, ldc, accumulate);
  }
}

// c (+)= the distances of all rows of q and b, blocks that lie in the caches.
template <bool L2>
void distance_block(Rows q, int64_t queries, Rows b, int64_t vectors, int64_t n, float* c, int64_t ldc,
                    bool accumulate) {
  for (int64_t i = 0; i < queries;) {
    int64_t left = queries - i;
    Rows from{q.data + i * q.ld, q.ld};
    auto* rows = left >= 4 ? distance_rows<L2, 4> : left >= 2 ? distance_rows<L2, 2> : distance_rows<L2, 1>;
    rows(from, b, vectors, n, c + i * ldc, ldc, accumulate);
    i += left >= 4 ? 4 : left >= 2 ? 2 : 1;
  }
}

// The block as rows of float32, where it lies or copied to scratch with zeros up to a whole vector.
inline Rows float_rows(const Matrix& m, Scratch slot) {
  if (has_float_rows(m) && m.cols >= W) {
    return {static_cast<const float*>(m.data), m.row_stride};
  }
  int64_t ld = (m.cols + W - 1) / W * W;
  auto* to = static_cast<float*>(thread_scratch(slot, sizeof(float) * m.rows * ld));
  copy_rows(m, to, ld);
  for (int64_t i = 0; i < m.rows && m.cols < ld; i++) {
    __builtin_memset(to + i * ld + m.cols, 0, sizeof(float) * (ld - m.cols));
  }
  return {to, ld};
}

// Distances of queries [i, i + queries) and vectors [j, j + vectors).
template <bool L2>
void distances_along_rows(const PairwiseDistancesArgs& g, int64_t i, int64_t queries, int64_t j, int64_t vectors) {
  const int64_t d = g.q.cols, parts = (d + kRowsDepth - 1) / kRowsDepth;
  const int64_t depth = ((d + parts - 1) / parts + W - 1) / W * W;
  for (int64_t p = 0; p < d; p += depth) {
    int64_t n = d - p < depth ? d - p : depth;
    Rows q = float_rows(block_of(g.q, i, queries, p, n), Scratch::packed_a);
    for (int64_t first = 0; first < vectors; first += kRowsBlock) {
      int64_t count = vectors - first < kRowsBlock ? vectors - first : kRowsBlock;
      Rows b = float_rows(block_of(g.b, j + first, count, p, n), Scratch::packed_b);
      distance_block<L2>(q, queries, b, count, n < W ? W : n, g.out + i * g.b.rows + j + first, g.b.rows, p > 0);
    }
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
