// Register-tiled products that Cholesky QR is made of: the Gram matrix of a block of rows in float64, and a block of
// rows times a packed (upper triangular) matrix in float32 or float64.
//
// Packed layouts. A block of rows in float64: panels of `nr` columns, each panel `rows` x nr contiguous. A right-hand
// matrix: panels of `nr` columns, each panel `depth` x nr contiguous. Both are padded with zero columns.
#pragma once

#include "cpu/integers.h"
#include "cpu/matrix.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

// Rows of a float64 tile, and vectors of a float64 tile for narrow and wide matrices: a narrow tile wastes less at the
// diagonal, a wide one hides more of the latency of fma.
#if defined(__AVX512F__)
inline constexpr int kRowsD = 8, kNarrow = 2, kWide = 3;
#elif defined(__AVX2__)
inline constexpr int kRowsD = 4, kNarrow = 2, kWide = 3;
#elif defined(__aarch64__)
inline constexpr int kRowsD = 4, kNarrow = 2, kWide = 4;
#else
inline constexpr int kRowsD = 4, kNarrow = 2, kWide = 2;
#endif
inline constexpr int kRowsF = kVectorRegisters == 32 ? 12 : 6;  // rows of a float32 tile of two vectors
inline constexpr int kPanelF = 2 * W;
inline constexpr int64_t kBlockRows = 128;  // a packed block of 256 columns (256 KB) stays in L2

template <typename T>
METALFAISS_INLINE T* scratch(Scratch slot, int64_t count) {
  return static_cast<T*>(thread_scratch(slot, sizeof(T) * static_cast<size_t>(count)));
}

// Some rows of a row-major matrix.
struct Rows {
  const float* data;
  int64_t ld;
};

// Rows [first, first + rows) of m; copied to Scratch::tile unless rows are contiguous already.
inline Rows rows_of(const Matrix& m, int64_t first, int64_t rows) {
  const float* from = static_cast<const float*>(m.data) + first * m.row_stride;
  if (m.col_stride == 1) {
    return {from, m.row_stride};
  }
  float* to = scratch<float>(Scratch::tile, rows * m.cols);
  constexpr int64_t kStep = 16;  // copies in squares, so that neither side misses the cache on every element
  for (int64_t i0 = 0; i0 < rows; i0 += kStep) {
    for (int64_t j0 = 0; j0 < m.cols; j0 += kStep) {
      int64_t i1 = at_most(i0 + kStep, rows), j1 = at_most(j0 + kStep, m.cols);
      for (int64_t j = j0; j < j1; j++) {
        for (int64_t i = i0; i < i1; i++) {
          to[i * m.cols + j] = from[i * m.row_stride + j * m.col_stride];
        }
      }
    }
  }
  return {to, m.cols};
}

// The number of float64 panels of n columns, and the size of a tile in columns.
template <int V>
struct Double {
  static constexpr int nr = V * WD;
  static_assert(nr % kRowsD == 0, "a tile's rows must lie in one panel");
  static int64_t panels(int64_t n) { return (n + nr - 1) / nr; }
};

// Packs a block of rows as float64; rows are padded with zeros to a multiple of kRowsD.
template <int V>
void pack_block(Rows a, int64_t rows, int64_t n, double* to) {
  constexpr int nr = Double<V>::nr;
  int64_t padded = round_up(rows, kRowsD);
  int64_t full = n / nr;
  for (int64_t i = 0; i < rows; i++) {
    const float* from = a.data + i * a.ld;
    for (int64_t p = 0; p < full; p++) {
      double* out = to + (p * padded + i) * nr;
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) {
        store(out + v * WD, load_double(from + p * nr + v * WD));
      }
    }
    if (full * nr < n) {
      double* out = to + (full * padded + i) * nr;
      for (int j = 0; j < nr; j++) {
        out[j] = full * nr + j < n ? static_cast<double>(from[full * nr + j]) : 0.0;
      }
    }
  }
  if (rows < padded) {
    for (int64_t p = 0; p < Double<V>::panels(n); p++) {
      __builtin_memset(to + (p * padded + rows) * nr, 0, sizeof(double) * nr * (padded - rows));
    }
  }
}

// g[kRowsD][V vectors] += a^T b over `rows` rows, a being kRowsD columns of a panel and b a panel.
template <int V>
METALFAISS_INLINE void gram_tile(const double* a, const double* b, int64_t rows, double* g, int64_t ldg) {
  constexpr int nr = Double<V>::nr;
  vd acc[kRowsD][V] = {};
  for (int64_t p = 0; p < rows; p++) {
    vd right[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) {
      right[v] = load(b + p * nr + v * WD);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kRowsD; i++) {
      vd left = broadcast(a[p * nr + i]);
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) {
        acc[i][v] = fma(left, right[v], acc[i][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRowsD; i++) {
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) {
      store(g + i * ldg + v * WD, load(g + i * ldg + v * WD) + acc[i][v]);
    }
  }
}

// g += block^T block, the tiles on and above the diagonal only. g is n x n padded to whole tiles.
template <int V>
void gram_block(const double* block, int64_t padded_rows, int64_t n, double* g, int64_t ldg) {
  constexpr int nr = Double<V>::nr;
  for (int64_t j = 0; j < Double<V>::panels(n); j++) {
    const double* b = block + j * padded_rows * nr;
    for (int64_t i = 0; i < at_most((j + 1) * nr, n); i += kRowsD) {
      const double* a = block + i / nr * padded_rows * nr + i % nr;
      gram_tile<V>(a, b, padded_rows, g + i * ldg + j * nr, ldg);
    }
  }
}

// Packs x (n x n, row-major, upper triangular) into panels of nr columns for a product from the right. What a panel
// holds below the diagonal's block is not written: products do not read it.
template <typename T, int nr>
void pack_upper(const double* x, int64_t ldx, int64_t n, T* to) {
  for (int64_t j0 = 0; j0 < n; j0 += nr, to += n * nr) {
    int64_t width = at_most(nr, n - j0);
    for (int64_t p = 0; p < j0 + width; p++) {
      for (int64_t j = 0; j < nr; j++) {
        to[p * nr + j] = j < width ? static_cast<T>(x[p * ldx + j0 + j]) : T{0};
      }
    }
  }
}

// out[R][width] = a x for R rows of a and one packed panel x of `depth` rows.
template <int R>
METALFAISS_INLINE void product_tile(Rows a, const float* x, int64_t depth, float* out, int64_t ldo, int64_t width) {
  vf acc[R][2] = {};
  for (int64_t p = 0; p < depth; p++) {
    vf x0 = load(x + p * kPanelF), x1 = load(x + p * kPanelF + W);
#pragma GCC unroll 12
    for (int i = 0; i < R; i++) {
      vf left = broadcast(a.data[i * a.ld + p]);
      acc[i][0] = fma(left, x0, acc[i][0]);
      acc[i][1] = fma(left, x1, acc[i][1]);
    }
  }
  if (width == kPanelF) {
#pragma GCC unroll 12
    for (int i = 0; i < R; i++) {
      store(out + i * ldo, acc[i][0]);
      store(out + i * ldo + W, acc[i][1]);
    }
    return;
  }
#pragma GCC unroll 12
  for (int i = 0; i < R; i++) {
    if (width > W) {
      store(out + i * ldo, acc[i][0]);
      store_first(out + i * ldo + W, acc[i][1], static_cast<int>(width) - W);
    } else {
      store_first(out + i * ldo, acc[i][0], static_cast<int>(width));
    }
  }
}

// out (rows x n) = a x, x packed from depth x n; upper triangular if `upper`. The panels go from the last to the first,
// so that out may be a itself where x is upper triangular.
inline void product(Rows a, int64_t rows, int64_t depth, int64_t n, const float* x, bool upper, float* out,
                    int64_t ldo) {
  for (int64_t j0 = (n - 1) / kPanelF * kPanelF; j0 >= 0; j0 -= kPanelF) {
    const float* panel = x + j0 * depth;
    int64_t width = at_most(kPanelF, n - j0);
    int64_t k = upper ? at_most(j0 + width, depth) : depth;
    auto tile = [&]<int R>(int64_t i) __attribute__((always_inline)) {
      product_tile<R>({a.data + i * a.ld, a.ld}, panel, k, out + i * ldo + j0, ldo, width);
    };
    int64_t i = 0;
    for (; i + kRowsF <= rows; i += kRowsF) {
      tile.operator()<kRowsF>(i);
    }
    for (; i + 4 <= rows; i += 4) {
      tile.operator()<4>(i);
    }
    for (; i < rows; i++) {
      tile.operator()<1>(i);
    }
  }
}

// The same in float64 for a packed block of rows: out (float32) = block x, x upper triangular and packed from n x n.
template <int V>
void product_block(const double* block, int64_t rows, int64_t n, const double* x, float* out, int64_t ldo) {
  constexpr int nr = Double<V>::nr;
  int64_t padded = round_up(rows, kRowsD);
  for (int64_t j = 0; j < Double<V>::panels(n); j++) {
    for (int64_t i = 0; i < rows; i += kRowsD) {
      vd acc[kRowsD][V] = {};
      for (int64_t panel = 0; panel <= j; panel++) {
        const double* a = block + (panel * padded + i) * nr;
        const double* right = x + (j * n + panel * nr) * nr;
        int64_t depth = at_most(nr, n - panel * nr);
        for (int64_t p = 0; p < depth; p++) {
          vd b[V];
#pragma GCC unroll 4
          for (int v = 0; v < V; v++) {
            b[v] = load(right + p * nr + v * WD);
          }
#pragma GCC unroll 8
          for (int r = 0; r < kRowsD; r++) {
            vd left = broadcast(a[r * nr + p]);
#pragma GCC unroll 4
            for (int v = 0; v < V; v++) {
              acc[r][v] = fma(left, b[v], acc[r][v]);
            }
          }
        }
      }
      int64_t width = at_most(nr, n - j * nr);
#pragma GCC unroll 8
      for (int r = 0; r < kRowsD; r++) {
        if (i + r >= rows) {
          break;
        }
        float line[nr];
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) {
          vf_half narrow = __builtin_convertvector(acc[r][v], vf_half);
          __builtin_memcpy(line + v * WD, &narrow, sizeof narrow);
        }
        __builtin_memcpy(out + (i + r) * ldo + j * nr, line, sizeof(float) * width);
      }
    }
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
