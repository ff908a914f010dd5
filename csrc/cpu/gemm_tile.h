// Register tiles of the matrix products. A tile lives in MR x NV accumulators; every step of the contraction loads NV
// vectors, broadcasts MR scalars and does MR * NV multiply-adds.
#pragma once

#include "cpu/simd.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

#if defined(__FMA__) || defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int kMultiplyRegisters = 0;
#else
inline constexpr int kMultiplyRegisters = 1;  // the product before it is added
#endif

// The most broadcasts a tile of nv vectors has registers for. Twelve row pointers are what the general registers of
// x86 address without reloads; eight independent sums already hide the latency of a multiply-add.
constexpr int tile_broadcasts(int nv) {
#if defined(__aarch64__)
  int room = 18 / nv;  // GCC 12 loads broadcasts far ahead here, and spills more sums than these
#else
  int room = (kVectorRegisters - nv - 1 - kMultiplyRegisters) / nv;
#endif
  int cap = nv == 1 ? 8 : 12;
  return room < cap ? room : cap;
}

inline constexpr int kLineFloats = 16;  // of a cache line

// How many vectors the next panel takes when `left` are left: pairs, and a triple rather than a lone last vector.
constexpr int panel_vectors(int64_t left) {
  return left == 1 ? 1 : left == 3 ? 3 : 2;
}

template <int MR, int NV>
struct Tile {
  vf sums[MR][NV];

  METALFAISS_INLINE void zero() {
#pragma GCC unroll 16
    for (int r = 0; r < MR; r++) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; v++) {
        sums[r][v] = vf{};
      }
    }
  }

  METALFAISS_INLINE void step(int r, float x, const vf (&y)[NV]) {
    vf xs = broadcast(x);
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) {
      sums[r][v] = fma(xs, y[v], sums[r][v]);
    }
  }

  METALFAISS_INLINE void add(const float* c, int64_t ldc, int last) {
#pragma GCC unroll 16
    for (int r = 0; r < MR; r++) {
#pragma GCC unroll 4
      for (int v = 0; v < NV - 1; v++) {
        sums[r][v] += load(c + r * ldc + v * W);
      }
      const float* tail = c + r * ldc + (NV - 1) * W;
      sums[r][NV - 1] += last == W ? load(tail) : load_first(tail, last);
    }
  }

  METALFAISS_INLINE void put(float* c, int64_t ldc, int last) const {
#pragma GCC unroll 16
    for (int r = 0; r < MR; r++) {
#pragma GCC unroll 4
      for (int v = 0; v < NV - 1; v++) {
        store(c + r * ldc + v * W, sums[r][v]);
      }
      float* tail = c + r * ldc + (NV - 1) * W;
      if (last == W) {
        store(tail, sums[r][NV - 1]);
      } else {
        store_first(tail, sums[r][NV - 1], last);
      }
    }
  }
};

template <int NV>
METALFAISS_INLINE void load_vectors(vf (&y)[NV], const float* p) {
#pragma GCC unroll 4
  for (int v = 0; v < NV; v++) {
    y[v] = load(p + v * W);
  }
}

// c (+)= a v for MR rows of row-major a and one panel v of n rows of NV vectors. `last` lanes of the last vector of c
// exist. Fetches `ahead` floats ahead of a, 0 for not at all.
template <int MR, int NV>
__attribute__((noinline)) void av_tile(const float* a, int64_t lda, int64_t n, const float* v, float* c, int64_t ldc,
                                       int last, bool accumulate, int64_t ahead) {
  Tile<MR, NV> tile;
  tile.zero();
  const float* rows[MR];
#pragma GCC unroll 16
  for (int r = 0; r < MR; r++) {
    rows[r] = a + r * lda;
  }
  int64_t p = 0;
  if (ahead) {
    for (; p + kLineFloats <= n; p += kLineFloats) {
#pragma GCC unroll 16
      for (int r = 0; r < MR; r++) {
        __builtin_prefetch(rows[r] + p + ahead);
      }
      for (int64_t end = p + kLineFloats; p < end; p++) {
        vf y[NV];
        load_vectors<NV>(y, v + p * (NV * W));
#pragma GCC unroll 16
        for (int r = 0; r < MR; r++) {
          tile.step(r, rows[r][p], y);
        }
      }
      p -= kLineFloats;
    }
  }
  for (; p < n; p++) {
    vf y[NV];
    load_vectors<NV>(y, v + p * (NV * W));
#pragma GCC unroll 16
    for (int r = 0; r < MR; r++) {
      tile.step(r, rows[r][p], y);
    }
  }
  if (accumulate) {
    tile.add(c, ldc, last);
  }
  tile.put(c, ldc, last);
}

// Where a tile of a^T b finds a: packed and warm, or in memory, where it fetches what later tiles need.
enum class From { panel, memory, memory_to_panel };

// z (+)= b^T a for MR columns of row-major b and NV vectors of columns of row-major a, both of m rows. Row j of z
// belongs to column j of b. From memory it fetches, at every step, what later tiles need: kColumns floats at `fetch`,
// which moves on by fetch_step. memory_to_panel leaves a packed copy in `panel`.
template <int MR, int NV, From from>
__attribute__((noinline)) void at_b_tile(const float* a, int64_t lda, int64_t m, const float* b, int64_t ldb, float* z,
                                         bool accumulate, float* panel, const float* fetch, int64_t fetch_step) {
  Tile<MR, NV> tile;
  tile.zero();
  for (int64_t p = 0; p < m; p++) {
    vf y[NV];
    load_vectors<NV>(y, a);
    if constexpr (from != From::panel) {
#pragma GCC unroll 4
      for (int line = 0; line < NV * W; line += kLineFloats) {
        __builtin_prefetch(fetch + line);
      }
      fetch += fetch_step;
    }
    if constexpr (from == From::memory_to_panel) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; v++) {
        store(panel + v * W, y[v]);
      }
      panel += NV * W;
    }
#pragma GCC unroll 16
    for (int r = 0; r < MR; r++) {
      tile.step(r, b[r], y);
    }
    a += lda;
    b += ldb;
  }
  if (accumulate) {
    tile.add(z, NV * W, W);
  }
  tile.put(z, NV * W, W);
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
