// The fast pass for many queries: a matrix product that never leaves the registers.
//
// Queries and rows are packed into panels, kTileRows queries and kTileCols rows wide, one dimension after the other.
// For L2, with c a point amid the rows, rows are packed as b - c and queries as -2 (q - c), and a tile starts at |b -
// c|^2, so that it ends as t = |q - b|^2 - |q - c|^2; for inner products queries are packed as -q, scaled by a power of
// two to a norm of at most 1, and it ends as t = -q.b.
//
// The error, for d dimensions and u = 2^-24: a chain of d roundings, centring, and the norm's own sum:
//   L2              |error| <= h |b|^2 + 2 g |q| |b|,   g = (d + 16) u,  h = (1.25 d + 32) u
//   inner products  |error| <= g |b|
// where b, and for L2 also q, stand for the centred vectors.
// Tiles start lower by (h + g) |b|^2 or g |b|: since 2 |q| |b| <= |q|^2 + |b|^2, a row's t is then at least its tile
// value minus g min(|q|^2, 2 |q| |b|) (inner products: minus nothing), whatever the mixture of norms.
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
  float* values;         // [panel][d][kTileCols]
  float* start;          // what a tile starts at; +inf where there is no row or it takes no part in the fast pass
  float* norm;           // |b|, rounded up
  float* above;          // what a tile value of the row may lie below t, without the part that depends on the query
  int32_t* special;      // rows too large for float32 arithmetic,
  double* special_norm;  // and their norms
  int64_t first, count, num_special;
  float max_norm;

  static size_t bytes(int64_t rows, int64_t d) { return rows * (d * 4 + 24) + 64; }

  void attach(char* storage, int64_t rows, int64_t d) {
    values = reinterpret_cast<float*>(storage);
    start = values + rows * d;
    norm = start + rows;
    above = norm + rows;
    special_norm = reinterpret_cast<double*>(above + rows);
    special = reinterpret_cast<int32_t*>(special_norm + rows);
  }
};

// Packs kTileCols rows, and their squared norms.
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
        v[i] -= broadcast(center[p + i]);
        squares[i] = fma(v[i], v[i], squares[i]);
        store(to + (p + i) * kTileCols, v[i]);
      }
    }
    for (; p < d; p++) {
      float lanes[W];
      for (int i = 0; i < W; i++) {
        lanes[i] = group[i][p];
      }
      vf v = load(lanes) - broadcast(center[p]);
      squares[0] = fma(v, v, squares[0]);
      store(to + p * kTileCols, v);
    }
    store(norm2 + g * W, (squares[0] + squares[1]) + (squares[2] + squares[3]));
  }
}

// What the fast pass needs of row j beside its values.
METALFAISS_INLINE void describe_row(const Search& s, const PanelErrors& error, double norm2, PackedRows* out,
                                    int64_t j) {
  int64_t d = s.database->cols;
  double tiny = (2 * d + 64) * kTiny, norm = __builtin_sqrt(norm2 + d * kTiny);
  double bias = s.inner_product ? error.g * norm : (error.g + error.h) * norm2;
  out->start[j] = round_down((s.inner_product ? 0 : norm2) - bias - tiny);
  out->norm[j] = round_up(norm);
  out->above[j] = round_up((s.inner_product ? bias : error.h * norm2) + bias + 4 * tiny);
  out->max_norm = out->norm[j] > out->max_norm ? out->norm[j] : out->max_norm;
}

METALFAISS_INLINE void add_special(const float* row, const float* center, int64_t d, int64_t id, PackedRows* out) {
  double square = exact_sum<false>(row, center, d);
  if (square < __builtin_inf()) {  // else it holds a NaN or an infinity, and is nobody's neighbour
    out->special_norm[out->num_special] = __builtin_sqrt(square);
    out->special[out->num_special++] = static_cast<int32_t>(id);
  }
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
  out->max_norm = 0;
  for (int64_t j = 0; j < count; j += kTileCols) {
    const float* rows[kTileCols];
    for (int i = 0; i < kTileCols; i++) {
      int64_t row = j + i < count ? j + i : count - 1;
      rows[i] = float_row(b, first + row, scratch + i * d);
    }
    float norm2[kTileCols];
    pack_panel(rows, center, d, out->values + j * d, norm2);
    for (int i = 0; i < kTileCols; i++) {
      bool exists = j + i < count, fast = norm2[i] <= static_cast<float>(kLargest);
      if (fast) {
        describe_row(s, error, norm2[i], out, j + i);
      } else if (exists) {
        add_special(rows[i], center, d, first + j + i, out);
      }
      out->start[j + i] = exists && fast ? out->start[j + i] : __builtin_inff();
    }
  }
}

struct Tile {
  const float* queries;  // [depth][rows of the tile]
  const float* rows;     // [depth][kTileCols]
  int64_t depth;
  const float* init;  // where the tile starts: one row for all queries, or one row each
  int64_t init_stride;
  const float* threshold;  // of each query; null where the tile is not finished
  float* out;              // [rows of the tile][kTileCols]
  const char* soon;        // memory to fetch meanwhile, or null: soon_step bytes for each of the `depth` steps
  int64_t soon_step;
};

// Returns whether a value is at most its query's threshold; writes the tile only then, or where it is not finished.
template <int M, bool kFetch>
bool multiply_tile(const Tile& t) {
  vf sum[M][kTileVectors];
#pragma GCC unroll 16
  for (int i = 0; i < M; i++) {
#pragma GCC unroll 4
    for (int j = 0; j < kTileVectors; j++) {
      sum[i][j] = load(t.init + i * t.init_stride + j * W);
    }
  }
  const float *q = t.queries, *b = t.rows;
  const char* soon = t.soon;
  for (int64_t p = 0; p < t.depth; p++, q += M, b += kTileCols) {
    if constexpr (kFetch) {
      for (int at = 0; at < kTileCols * 4; at += 64) {
        __builtin_prefetch(soon + at, 0, 2);
      }
      soon += t.soon_step;
    }
    vf row[kTileVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kTileVectors; j++) {
      row[j] = load(b + j * W);
    }
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
      vf x = broadcast(q[i]);
#pragma GCC unroll 4
      for (int j = 0; j < kTileVectors; j++) {
        sum[i][j] = fma(x, row[j], sum[i][j]);
      }
    }
  }
  if (t.threshold) {
    vi near{};
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
      vf threshold = broadcast(t.threshold[i]);
#pragma GCC unroll 4
      for (int j = 0; j < kTileVectors; j++) {
        near |= sum[i][j] <= threshold;
      }
    }
    if (bits(near) == 0) {
      return false;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; i++) {
#pragma GCC unroll 4
    for (int j = 0; j < kTileVectors; j++) {
      store(t.out + i * kTileCols + j * W, sum[i][j]);
    }
  }
  return true;
}

using MultiplyTile = bool (*)(const Tile&);

template <int M>
MultiplyTile multiply_tile_of(int64_t rows, bool fetch) {
  if constexpr (M > 1) {
    if (rows < M) {
      return multiply_tile_of<M - 1>(rows, fetch);
    }
  }
  return fetch ? multiply_tile<M, true> : multiply_tile<M, false>;
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
inline void pack_query_panel(const Search& s, const float* center, const QueryPanels& panels, int64_t panel,
                             float* out) {
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

// The part of the error bounds that depends on the query.
struct QueryErrors {
  float squared;  // g |q|^2
  float cross;    // 2 g |q|, times |b|
  QueryErrors(const Search& s, const PanelErrors& error, double norm)
      : squared(s.inner_product ? 0 : round_up(error.g * norm * norm)),
        cross(s.inner_product ? 0 : round_up(2 * error.g * norm)) {}
};

METALFAISS_INLINE float widen_by(float x) {  // more than the roundings of a short float32 expression
  return __builtin_fabsf(x) * 0x1p-21f;
}

// Inserts what passed in a tile, with the error bounds of each pair.
inline __attribute__((noinline)) void collect(const Search& s, Candidates& candidates, const PackedRows& rows,
                                              int64_t panel_row, int64_t first_query, int64_t m, const float* tile) {
  PanelErrors error(s.database->cols);
  const float tiny = round_up((2 * s.database->cols + 64) * kTiny);
  constexpr int kRowsPerWord = 64 / kTileCols;
  for (int64_t first = 0; first < m; first += kRowsPerWord) {  // few branches: they would be hard to predict
    int64_t end = first + kRowsPerWord < m ? first + kRowsPerWord : m;
    uint64_t left = 0;
    for (int64_t i = first; i < end; i++) {
      const vf threshold = broadcast(candidates.thresholds()[first_query + i]);
      for (int j = 0; j < kTileVectors; j++) {
        uint64_t passed = bits(load(tile + i * kTileCols + j * W) <= threshold);
        left |= passed << ((i - first) * kTileCols + j * W);
      }
    }
    for (; left; left &= left - 1) {
      int64_t at = __builtin_ctzll(left), query = first_query + first + at / kTileCols,
              row = panel_row + at % kTileCols;
      QueryErrors errors(s, error, s.queries[query].norm);
      float value = tile[first * kTileCols + at], cross = errors.cross * rows.norm[row];
      float lower = value - (errors.squared < cross ? errors.squared : cross);
      float upper = value + (rows.above[row] + cross);
      candidates.insert(query, rows.first + row, lower - widen_by(lower) - tiny, upper + widen_by(upper) + tiny);
    }
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
