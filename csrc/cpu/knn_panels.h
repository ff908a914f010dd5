// The fast pass for many queries: a matrix product that never leaves the registers.
//
// Queries and rows are packed into panels, kTileRows queries and kTileCols rows wide, one dimension after the other. For
// L2, with c a point amid the rows, rows are packed as b - c and queries as -2 (q - c), and a tile starts at |b - c|^2, so
// that it ends as t = |q - b|^2 - |q - c|^2; for inner products queries are packed as -q, scaled by a power of two to a
// norm of at most 1, and it ends as t = -q.b.
//
// The error, for d dimensions and u = 2^-24: a chain of d roundings, centring, and the norm's own sum:
//   L2              |error| <= h |b|^2 + 2 g |q| |b|,   g = (d + 16) u,  h = (1.25 d + 32) u   (q and b centred)
//   inner products  |error| <= g |b|
// Tiles start lower by (h + g) |b|^2 or g |b|: since 2 |q| |b| <= |q|^2 + |b|^2, a row's t is then at least its tile value
// minus g min(|q|^2, 2 |q| |b|) (inner products: minus nothing), whatever the mixture of norms.
#pragma once

#include "cpu/knn_candidates.h"
#include "cpu/transpose.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

inline constexpr int kTileRows = kVectorRegisters == 32 ? 12 : 6;
inline constexpr int kTileVectors = 2;
inline constexpr int kTileCols = kTileVectors * W;
inline constexpr int64_t kDepth = 6144 / kTileCols;  // of a pass over d: 24 KiB of rows, to stay in a 32 KiB L1

struct PanelErrors {
  double g, h;
  explicit PanelErrors(int64_t d) : g(1.01 * (d + 16) * kRound), h(1.01 * (1.25 * d + 32) * kRound) {}
};

// Rows [first, first + count) of the database, packed.
struct PackedRows {
  float* values;    // [panel][d][kTileCols]
  float* start;     // what a tile starts at; +inf where there is no row or it takes no part in the fast pass
  float* norm2;     // |b|^2
  int32_t* special; // rows too large for float32 arithmetic,
  double* special_norm;  // and their norms
  int64_t first, count, num_special;
  float max_norm2;

  static size_t bytes(int64_t rows, int64_t d) { return rows * (d * 4 + 20) + 64; }

  void attach(char* storage, int64_t rows, int64_t d) {
    values = reinterpret_cast<float*>(storage);
    start = values + rows * d;
    norm2 = start + rows;
    special_norm = reinterpret_cast<double*>(norm2 + rows);
    special = reinterpret_cast<int32_t*>(special_norm + rows);
  }
};

// Packs kTileCols rows and returns their squared norms; `center` may be null.
template <bool kCentered>
METALFAISS_INLINE void pack_panel(const float* const* rows, const float* center, int64_t d, float* out, float* norm2) {
  for (int g = 0; g < kTileVectors; g++) {
    const float* const* group = rows + g * W;
    float* to = out + g * W;
    vf squares[4] = {};
    int64_t p = 0;
    for (; p + 4 <= d; p += 4) {
      vf v[4];
      for (int i = 0; i < 4; i++) {
        v[i] = gather_fours(group + i, p, 4);
      }
      transpose_fours(v);
      for (int i = 0; i < 4; i++) {
        v[i] = kCentered ? v[i] - broadcast(center[p + i]) : v[i];
        squares[i] = fma(v[i], v[i], squares[i]);
        store(to + (p + i) * kTileCols, v[i]);
      }
    }
    for (; p < d; p++) {
      float lanes[W];
      for (int i = 0; i < W; i++) {
        lanes[i] = group[i][p];
      }
      vf v = kCentered ? load(lanes) - broadcast(center[p]) : load(lanes);
      squares[0] = fma(v, v, squares[0]);
      store(to + p * kTileCols, v);
    }
    store(norm2 + g * W, (squares[0] + squares[1]) + (squares[2] + squares[3]));
  }
}

METALFAISS_INLINE float tile_start(bool inner_product, const PanelErrors& error, int64_t d, double norm2) {
  double bias = inner_product ? error.g * __builtin_sqrt(norm2 + d * kTiny) : (error.g + error.h) * norm2;
  return round_down((inner_product ? 0 : norm2) - bias - (2 * d + 64) * kTiny);
}

// Packs rows [first, first + count). `scratch` holds kTileCols * d floats.
inline void pack_rows(const Search& s, const float* center, int64_t first, int64_t count, PackedRows* out,
                      float* scratch) {
  const Matrix& b = *s.database;
  int64_t d = b.cols;
  PanelErrors error(d);
  out->first = first;
  out->count = count;
  out->num_special = 0;
  out->max_norm2 = 0;
  for (int64_t j = 0; j < count; j += kTileCols) {
    const float* rows[kTileCols];
    for (int i = 0; i < kTileCols; i++) {
      int64_t row = j + i < count ? j + i : count - 1;
      rows[i] = float_row(b, first + row, scratch + i * d);
    }
    float* norm2 = out->norm2 + j;
    if (s.inner_product) {
      pack_panel<false>(rows, nullptr, d, out->values + j * d, norm2);
    } else {
      pack_panel<true>(rows, center, d, out->values + j * d, norm2);
    }
    for (int i = 0; i < kTileCols; i++) {
      bool fast = norm2[i] <= static_cast<float>(kLargest);
      out->start[j + i] = j + i < count && fast ? tile_start(s.inner_product, error, d, norm2[i]) : __builtin_inff();
      if (fast) {
        out->max_norm2 = norm2[i] > out->max_norm2 ? norm2[i] : out->max_norm2;
      } else if (j + i < count) {
        double square = s.inner_product ? exact_sum<true>(rows[i], rows[i], d) : exact_sum<false>(rows[i], center, d);
        if (square < __builtin_inf()) {  // else it holds a NaN or an infinity, and is nobody's neighbour
          out->special_norm[out->num_special] = __builtin_sqrt(square);
          out->special[out->num_special++] = static_cast<int32_t>(first + j + i);
        }
      }
    }
  }
}

struct Tile {
  const float* queries;  // [depth][rows of the tile]
  const float* rows;     // [depth][kTileCols]
  int64_t depth;
  const float* init;     // where the tile starts: one row for all queries, or one row each
  int64_t init_stride;
  const float* threshold;  // of each query; null where the tile is not finished
  float* out;              // [rows of the tile][kTileCols]
};

// Returns whether a value is at most its query's threshold; writes the tile only then, or where it is not finished.
template <int M>
bool multiply_tile(const Tile& t) {
  vf sum[M][kTileVectors];
  for (int i = 0; i < M; i++) {
    for (int j = 0; j < kTileVectors; j++) {
      sum[i][j] = load(t.init + i * t.init_stride + j * W);
    }
  }
  const float *q = t.queries, *b = t.rows;
  for (int64_t p = 0; p < t.depth; p++, q += M, b += kTileCols) {
    vf row[kTileVectors];
    for (int j = 0; j < kTileVectors; j++) {
      row[j] = load(b + j * W);
    }
    for (int i = 0; i < M; i++) {
      vf x = broadcast(q[i]);
      for (int j = 0; j < kTileVectors; j++) {
        sum[i][j] = fma(x, row[j], sum[i][j]);
      }
    }
  }
  if (t.threshold) {
    vi near{};
    for (int i = 0; i < M; i++) {
      vf threshold = broadcast(t.threshold[i]);
      for (int j = 0; j < kTileVectors; j++) {
        near |= sum[i][j] <= threshold;
      }
    }
    if (bits(near) == 0) {
      return false;
    }
  }
  for (int i = 0; i < M; i++) {
    for (int j = 0; j < kTileVectors; j++) {
      store(t.out + i * kTileCols + j * W, sum[i][j]);
    }
  }
  return true;
}

using MultiplyTile = bool (*)(const Tile&);

template <int M>
MultiplyTile multiply_tile_of(int64_t rows) {
  if constexpr (M > 1) {
    return rows == M ? multiply_tile<M> : multiply_tile_of<M - 1>(rows);
  } else {
    return multiply_tile<1>;
  }
}

// How queries are split into panels: as evenly as can be, so that none is nearly empty.
struct QueryPanels {
  int64_t num_queries, count;
  explicit QueryPanels(int64_t n) : num_queries(n), count((n + kTileRows - 1) / kTileRows) {}
  int64_t begin(int64_t panel) const {
    int64_t base = num_queries / count, more = num_queries % count;
    return panel * base + (panel < more ? panel : more);
  }
};

// `out`: panel after panel, [d][queries of the panel].
inline void pack_query_panel(const Search& s, const float* center, const QueryPanels& panels, int64_t panel, float* out) {
  int64_t begin = panels.begin(panel), m = panels.begin(panel + 1) - begin, d = s.database->cols;
  for (int64_t i = 0; i < m; i++) {
    const Query& query = s.queries[begin + i];
    float* to = out + begin * d + i;
    for (int64_t p = 0; p < d; p++) {
      float x = query.values[p];
      float packed = s.inner_product ? static_cast<float>(-query.scale * x) : (x - center[p]) * -2.0f;
      to[p * m] = query.pass == Pass::fast ? packed : 0.0f;
    }
  }
}

// Inserts what passed in a tile, with the error bounds of each pair.
inline __attribute__((noinline)) void collect(const Search& s, Candidates& candidates, const PackedRows& rows,
                                               int64_t panel_row, int64_t first_query, int64_t m, const float* tile) {
  PanelErrors error(s.database->cols);
  double tiny = (2 * s.database->cols + 64) * kTiny;
  for (int64_t i = 0; i < m; i++) {
    int64_t query = first_query + i;
    double norm = s.queries[query].norm;
    for (int j = 0; j < kTileVectors; j++) {
      vf values = load(tile + i * kTileCols + j * W);
      for (uint32_t left = bits(values <= broadcast(candidates.thresholds()[query])); left; left &= left - 1) {
        int lane = j * W + __builtin_ctz(left);
        double value = tile[i * kTileCols + lane], norm2 = rows.norm2[panel_row + lane];
        double row_norm = __builtin_sqrt(norm2 + s.database->cols * kTiny), cross = 2 * error.g * norm * row_norm;
        double below = error.g * norm * norm;
        below = s.inner_product ? 0 : below < cross ? below : cross;
        double above = s.inner_product ? 2 * error.g * row_norm : (2 * error.h + error.g) * norm2 + cross;
        candidates.insert(query, rows.first + panel_row + lane, round_down(value - below - tiny),
                          round_up(value + above + 2 * tiny));
      }
    }
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
