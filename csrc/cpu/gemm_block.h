// Serial products of blocks that lie in a core's caches, on the tiles of gemm_tile.h. Building stones of the matrix
// products, and of whatever else multiplies blocks (QR, SVD).
#pragma once

#include "cpu/gemm_pack.h"
#include "cpu/gemm_tile.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

constexpr int64_t vectors_of(int64_t n) {
  return (n + W - 1) / W;
}

// ------------------------------------------------------------------ a v

// Floats that the panels of an n x k matrix take.
constexpr int64_t panels_size(int64_t n, int64_t k) {
  return n * vectors_of(k) * W;
}

// Copies v (n x k) into panels: [panel][row][vectors of the panel], as block_av reads it.
inline void copy_panels(const Matrix& v, float* to) {
  int64_t vectors = vectors_of(v.cols);
  for (int64_t q = 0; q < vectors;) {
    int nv = panel_vectors(vectors - q);
    int64_t cols = v.cols - q * W < nv * W ? v.cols - q * W : nv * W;
    copy_panel(block_of(v, 0, v.rows, q * W, cols), nv, to + q * W * v.rows);
    q += nv;
  }
}

template <int NV, int MR = tile_broadcasts(NV)>
METALFAISS_INLINE void av_tile_of(int rows, const float* a, int64_t lda, int64_t n, const float* v, float* c,
                                  int64_t ldc, int last, bool accumulate, int64_t ahead) {
  if (rows == MR) {
    av_tile<MR, NV>(a, lda, n, v, c, ldc, last, accumulate, ahead);
  } else if constexpr (MR > 1) {
    av_tile_of<NV, MR - 1>(rows, a, lda, n, v, c, ldc, last, accumulate, ahead);
  }
}

template <int NV>
inline void av_panel(const float* a, int64_t lda, int64_t rows, int64_t n, const float* v, float* c, int64_t ldc,
                     int last, bool accumulate, bool fetch) {
  constexpr int MR = tile_broadcasts(NV);
  int64_t ahead = fetch ? lda * MR * (2 + 256 / n) : 0;  // far enough for memory's latency when rows are short
  for (int64_t i = 0; i < rows; i += MR) {
    int left = rows - i < MR ? static_cast<int>(rows - i) : MR;
    av_tile_of<NV>(left, a + i * lda, lda, n, v, c + i * ldc, ldc, last, accumulate, ahead);
  }
}

// c (+)= a v for row-major a (rows x n) and the rows [p0, p0 + n) of v (panel_rows x k), which is in panels. With
// `fetch` it prefetches a's next rows, for an a that comes from memory.
inline void block_av(const float* a, int64_t lda, int64_t rows, int64_t n, const float* panels, int64_t panel_rows,
                     int64_t p0, int64_t k, float* c, int64_t ldc, bool accumulate, bool fetch) {
  int64_t vectors = vectors_of(k);
  for (int64_t q = 0; q < vectors;) {
    int nv = panel_vectors(vectors - q);
    int last = q + nv == vectors ? static_cast<int>(k - (vectors - 1) * W) : W;
    const float* v = panels + q * W * panel_rows + p0 * nv * W;
    auto* multiply = nv == 1 ? av_panel<1> : nv == 2 ? av_panel<2> : av_panel<3>;
    multiply(a, lda, rows, n, v, c + q * W, ldc, last, accumulate, fetch && q == 0);
    q += nv;
  }
}

// ---------------------------------------------------------------- a^T b

inline constexpr int kColumns = 2 * W;              // of a, in one tile of a^T b
inline constexpr int64_t kFetchFloats = 40 * 1024;  // of a block that waits in L2 for its turn

// Floats of the sums of a^T b for n columns of a and k of b: [panel of kColumns columns of a][column of b][kColumns].
constexpr int64_t sums_size(int64_t n, int64_t k) {
  return (n + kColumns - 1) / kColumns * kColumns * k;
}

// What a panel's first tile fetches for the panels after it.
struct Fetch {
  const float* from;
  int64_t step;
};

inline constexpr int kGroup = tile_broadcasts(2);  // columns of b, in one tile of a^T b

// How k columns of b are dealt out to tiles: evenly, so that seven are four and three, not six and one.
struct Groups {
  int64_t left_columns, left;

  explicit Groups(int64_t k) : left_columns(k), left((k + kGroup - 1) / kGroup) {}
  int next() {
    int columns = static_cast<int>((left_columns + left - 1) / left);
    left_columns -= columns;
    left--;
    return columns;
  }
};

// The b of a^T b: rows of `ld` floats, or the groups that copy_groups made, `group` floats each.
struct Right {
  const float* data;
  int64_t ld;
  int64_t group = 0;
};

// From how many columns on copying b pays: fewer stay in L1 as they are. Tuned on Zen 3, 2026-11: 1.0 times the speed
// at 32 columns, 1.25 at 64 and 1.3 at 128, where rows of b are 512 bytes apart and share few sets of the cache.
inline constexpr int64_t kGroupedColumns = 48;

constexpr int64_t group_size(int64_t m) {
  return m * kGroup + W;  // the last row is stored as whole vectors
}

constexpr int64_t groups_size(int64_t m, int64_t k) {
  return (k + kGroup - 1) / kGroup * group_size(m);
}

// Copies b into groups: [group][row][column of the group].
inline Right copy_groups(const Matrix& b, float* to) {
  int64_t size = group_size(b.rows);
  with_data(b, [&](const auto* from) {
    for (int64_t p = 0; p < b.rows; p++) {
      const auto* row = from + p * b.row_stride;
      float* slot = to + p * kGroup;
      int64_t j = 0;
      for (Groups groups(b.cols); groups.left > 0; slot += size) {
        int columns = groups.next();
        for (int c = 0; c < columns; c += W) {
          int lanes = lanes_left(b.cols - j - c);
          store(slot + c, load_strided(row + (j + c) * b.col_stride, b.col_stride, lanes));
        }
        j += columns;
      }
    }
  });
  return {to, kGroup, size};
}

template <From from, int MR = kGroup>
METALFAISS_INLINE void at_b_tile_of(int cols, const float* a, int64_t lda, int64_t m, const float* b, int64_t ldb,
                                    float* z, bool accumulate, float* panel, Fetch fetch) {
  if (cols == MR) {
    at_b_tile<MR, 2, from>(a, lda, m, b, ldb, z, accumulate, panel, fetch.from, fetch.step);
  } else if constexpr (MR > 1) {
    at_b_tile_of<from, MR - 1>(cols, a, lda, m, b, ldb, z, accumulate, panel, fetch);
  }
}

// The sums of one panel of columns. `panel` holds the columns already (a is it), or room for m x kColumns where they
// are copied on the way.
inline void at_b_panel(const float* a, int64_t lda, int64_t m, const Right& b, int64_t k, float* z, bool accumulate,
                       float* panel, Fetch fetch) {
  const float* right = b.data;
  for (Groups groups(k); groups.left > 0;) {
    bool last = groups.left == 1;
    int cols = groups.next();
    if (a == panel) {
      at_b_tile_of<From::panel>(cols, a, lda, m, right, b.ld, z, accumulate, nullptr, {});
    } else if (last) {
      at_b_tile_of<From::memory>(cols, a, lda, m, right, b.ld, z, accumulate, nullptr, fetch);
    } else {
      at_b_tile_of<From::memory_to_panel>(cols, a, lda, m, right, b.ld, z, accumulate, panel, fetch);
      a = panel;
      lda = kColumns;
    }
    right += b.group ? b.group : cols;
    z += cols * kColumns;
  }
}

// z (+)= the sums of a^T b for row-major a (m x n) and b (m x k). `panel` is scratch of m x kColumns floats. The block
// of a's next m rows is fetched on the way, in the order in which it lies in memory, if both blocks fit the cache
// together. Otherwise the next panel is: its rows are far apart, which memory likes less.
inline void block_at_b(const float* a, int64_t lda, int64_t m, int64_t n, const Right& b, int64_t k, float* z,
                       bool accumulate, float* panel) {
  bool in_order = lda == n && m * n <= kFetchFloats;
  for (int64_t i = 0; i < n; i += kColumns) {
    if (n - i >= kColumns) {
      Fetch fetch = in_order                ? Fetch{a + m * lda + i * m, kColumns}
                    : n - i >= 2 * kColumns ? Fetch{a + i + kColumns, lda}
                                            : Fetch{a + m * lda, lda};
      at_b_panel(a + i, lda, m, b, k, z + i * k, accumulate, panel, fetch);
    } else {
      copy_panel({a + i, Float::f32, m, n - i, lda, 1}, 2, panel);
      at_b_panel(panel, kColumns, m, b, k, z + i * k, accumulate, panel, {});
    }
  }
}

// The same for an a that copy_column_panels packed.
inline void block_at_b_packed(const float* panels, int64_t m, int64_t n, const Right& b, int64_t k, float* z,
                              bool accumulate) {
  for (int64_t i = 0; i < n; i += kColumns) {
    float* panel = const_cast<float*>(panels + i * m);  // read only
    at_b_panel(panel, kColumns, m, b, k, z + i * k, accumulate, panel, {});
  }
}

inline void copy_column_panels(const Matrix& a, float* to) {
  for (int64_t i = 0; i < a.cols; i += kColumns) {
    int64_t cols = a.cols - i < kColumns ? a.cols - i : kColumns;
    copy_panel(block_of(a, 0, a.rows, i, cols), 2, to + i * a.rows);
  }
}

// The sum of `parts` arrays of n floats that lie `stride` apart, in their order.
inline void add_parts(const float* partial, int64_t parts, int64_t stride, int64_t n, float* to) {
  for (int64_t e = 0; e < n; e += W) {
    int lanes = lanes_left(n - e);
    vf total = load_first(partial + e, lanes);
    for (int64_t s = 1; s < parts; s++) {
      total += load_first(partial + s * stride + e, lanes);
    }
    store_first(to + e, total, lanes);
  }
}

// Writes the sums of one panel as rows of the product: `rows` rows of k values of `type`, ld values apart.
inline void store_sums(const float* z, int64_t rows, int64_t k, Float type, void* out, int64_t ld) {
  for (int64_t i = 0; i < rows; i++) {
    char* row = static_cast<char*>(out) + i * ld * size_of(type);
    for (int64_t j = 0; j < k; j += W) {
      int lanes = lanes_left(k - j);
      vf values = load_strided(z + j * kColumns + i, kColumns, lanes);
      float buffer[W];
      store(buffer, values);
      store_row(buffer, lanes, type, row + j * size_of(type));
    }
  }
}

// Writes the sums of one panel as columns of the product: k rows of `cols` values.
inline void store_turned_sums(const float* z, int64_t cols, int64_t k, Float type, void* out, int64_t ld) {
  for (int64_t j = 0; j < k; j++) {
    store_row(z + j * kColumns, cols, type, static_cast<char*>(out) + j * ld * size_of(type));
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
