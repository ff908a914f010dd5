// Distances between two large sets: on register tiles, as a matrix product (gemm_tile.h), with a difference beside
// every multiply-add.
#pragma once

#include "cpu/gemm_pack.h"
#include "cpu/gemm_tile.h"
#include "cpu/pairwise_distances.h"
#include "cpu/parallel.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

// Columns that pass at once. A lane sums kPanelDepth squares one after the other: with the additions of parts, the
// relative error of a squared distance stays below (kPanelDepth + 3 + d / kPanelDepth) 2^-24, 1e-5 up to d = 6000.
inline constexpr int64_t kPanelDepth = 96;

// Of a task: queries, vectors and distances of one depth stay in an L2 cache of 512 KB.
inline constexpr int64_t kPanelsQueries = 384;
inline constexpr int64_t kPanelsVectors = 128;

// As tile_broadcasts, with one more register for the difference.
constexpr int tile_queries(int nv) {
  int room = (kVectorRegisters - nv - 2) / nv;
  int cap = nv == 1 ? 8 : 12;
  return room < cap ? room : cap;
}

// c (+)= the distances of MR rows of q, ldq apart, and NV vectors of a panel of n rows. `last` lanes of the last vector
// of c exist.
template <bool L2, int MR, int NV>
__attribute__((noinline)) void panel_tile(const float* q, int64_t ldq, int64_t n, const float* panel, float* c,
                                          int64_t ldc, int last, bool accumulate) {
  Tile<MR, NV> tile;
  tile.zero();
  for (int64_t p = 0; p < n; p++) {
    vf y[NV];
    load_vectors<NV>(y, panel + p * (NV * W));
#pragma GCC unroll 16
    for (int r = 0; r < MR; r++) {
      vf x = broadcast(q[r * ldq + p]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; v++) {
        vf left = L2 ? x - y[v] : x, right = L2 ? left : y[v];
        tile.sums[r][v] = fma(left, right, tile.sums[r][v]);
      }
    }
  }
  if (accumulate) {
    tile.add(c, ldc, last);
  }
  tile.put(c, ldc, last);
}

template <bool L2, int NV, int MR = tile_queries(NV)>
METALFAISS_INLINE void panel_tile_of(int rows, const float* q, int64_t ldq, int64_t n, const float* panel, float* c,
                                     int64_t ldc, int last, bool accumulate) {
  if (rows == MR) {
    panel_tile<L2, MR, NV>(q, ldq, n, panel, c, ldc, last, accumulate);
  } else if constexpr (MR > 1) {
    panel_tile_of<L2, NV, MR - 1>(rows, q, ldq, n, panel, c, ldc, last, accumulate);
  }
}

template <bool L2, int NV>
void panel_rows(const float* q, int64_t ldq, int64_t queries, int64_t n, const float* panel, float* c, int64_t ldc,
                int last, bool accumulate) {
  constexpr int MR = tile_queries(NV);
  for (int64_t i = 0; i < queries; i += MR) {
    int rows = queries - i < MR ? static_cast<int>(queries - i) : MR;
    panel_tile_of<L2, NV>(rows, q + i * ldq, ldq, n, panel, c + i * ldc, ldc, last, accumulate);
  }
}

// Distances of queries [i, i + queries) and vectors [j, j + vectors).
template <bool L2>
void distances_on_panels(const PairwiseDistancesArgs& g, int64_t i, int64_t queries, int64_t j, int64_t vectors) {
  auto* q = static_cast<float*>(thread_scratch(Scratch::packed_a, sizeof(float) * kPanelsQueries * kPanelDepth));
  auto* panel = static_cast<float*>(thread_scratch(Scratch::packed_b, sizeof(float) * 2 * W * kPanelDepth));
  const int64_t d = g.q.cols, ldc = g.b.rows;
  for (int64_t p = 0; p < d; p += kPanelDepth) {
    int64_t n = d - p < kPanelDepth ? d - p : kPanelDepth;
    copy_rows(block_of(g.q, i, queries, p, n), q, n);
    for (int64_t first = 0; first < vectors; first += 2 * W) {
      int64_t count = vectors - first < 2 * W ? vectors - first : 2 * W;
      int nv = count > W ? 2 : 1;
      Matrix columns = block_of(g.b, j + first, count, p, n).transposed();
      if (count == nv * W) {
        copy_rows(columns, panel, count);
      } else {
        copy_panel(columns, nv, panel);
      }
      int last = static_cast<int>(count - (nv - 1) * W);
      auto* rows = nv == 2 ? panel_rows<L2, 2> : panel_rows<L2, 1>;
      rows(q, n, queries, n, panel, g.out + i * ldc + j + first, ldc, last, p > 0);
    }
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
