// A tile of the product of 16-bit integers with 32-bit sums: on x86 in twice as many multiply-adds a cycle as float32
// has, since an instruction adds two products a lane. Both sides are panels, [step][row][kPair] integers.
#pragma once

#include "cpu/integers.h"
#include "cpu/knn_panels.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

#if defined(__x86_64__)
inline constexpr int kPair = 2;  // neighbouring coordinates that one instruction multiplies and adds
#else
inline constexpr int kPair = 1;
#endif

struct ShortTile {
  const int16_t* points;  // [steps][rows of the tile][kPair]
  const int16_t* rows;    // [steps][kTileCols][kPair]
  int64_t steps;
  const float* point_scales;          // of each row of the tile
  const float *row_scales, *row_add;  // of each column
  float* out;                         // [rows of the tile][kTileCols]: product * both scales + row_add
};

#if defined(__x86_64__)
typedef int16_t vi16_pair __attribute__((vector_size(4 * W)));

METALFAISS_INLINE vi multiply_pairs(vi16_pair a, vi16_pair b) {
#if defined(__AVX512F__)
  return (vi)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (vi)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#else
  return (vi)_mm_madd_epi16((__m128i)a, (__m128i)b);
#endif
}
#endif

// One step: sum[i][j] += point i times row j.
template <int M>
METALFAISS_INLINE void multiply_step(const int16_t* points, const int16_t* rows, vi (&sum)[M][kTileVectors]) {
#if defined(__x86_64__)
  vi16_pair row[kTileVectors];
  for (int j = 0; j < kTileVectors; j++) {
    row[j] = load_as<vi16_pair>(rows + j * 2 * W);
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; i++) {
    int32_t pair;
    __builtin_memcpy(&pair, points + 2 * i, sizeof pair);
    vi16_pair x = (vi16_pair)(pair - vi{});
#pragma GCC unroll 4
    for (int j = 0; j < kTileVectors; j++) {
      sum[i][j] += multiply_pairs(x, row[j]);
    }
  }
#else
  vi row[kTileVectors];
  for (int j = 0; j < kTileVectors; j++) {
    row[j] = __builtin_convertvector(load_as<vi16>(rows + j * W), vi);
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; i++) {
    int32_t x = points[i];
#pragma GCC unroll 4
    for (int j = 0; j < kTileVectors; j++) {
      sum[i][j] += row[j] * x;
    }
  }
#endif
}

template <int M>
void multiply_short_tile(const ShortTile& t) {
  vi sum[M][kTileVectors] = {};
  const int16_t *points = t.points, *rows = t.rows;
  for (int64_t step = 0; step < t.steps; step++, points += M * kPair, rows += kTileCols * kPair) {
    multiply_step<M>(points, rows, sum);
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; i++) {
    vf scale = broadcast(t.point_scales[i]);
#pragma GCC unroll 4
    for (int j = 0; j < kTileVectors; j++) {
      vf product = __builtin_convertvector(sum[i][j], vf) * load(t.row_scales + j * W);
      store(t.out + i * kTileCols + j * W, fma(product, scale, load(t.row_add + j * W)));
    }
  }
}

using MultiplyShortTile = void (*)(const ShortTile&);

template <int M>
MultiplyShortTile multiply_short_tile_of(int64_t rows) {
  if constexpr (M > 1) {
    if (rows < M) {
      return multiply_short_tile_of<M - 1>(rows);
    }
  }
  return multiply_short_tile<M>;
}

// The products of a row with four others. n is a multiple of 2 W.
inline constexpr int kRowsAtOnce = 4;
METALFAISS_INLINE void multiply_short_rows(const int16_t* x, const int16_t* const* rows, int64_t n, int32_t* out) {
  vi sums[kRowsAtOnce] = {};
  for (int64_t p = 0; p < n; p += 2 * W) {
#pragma GCC unroll 4
    for (int i = 0; i < kRowsAtOnce; i++) {
#if defined(__x86_64__)
      sums[i] += multiply_pairs(load_as<vi16_pair>(x + p), load_as<vi16_pair>(rows[i] + p));
#else
      for (int64_t at = p; at < p + 2 * W; at += W) {
        sums[i] += __builtin_convertvector(load_as<vi16>(x + at), vi) *
                   __builtin_convertvector(load_as<vi16>(rows[i] + at), vi);
      }
#endif
    }
  }
  vf columns[kRowsAtOnce] = {(vf)sums[0], (vf)sums[1], (vf)sums[2], (vf)sums[3]};
  transpose_fours(columns);
  vi total = ((vi)columns[0] + (vi)columns[1]) + ((vi)columns[2] + (vi)columns[3]);
  int32_t lanes[W];
  __builtin_memcpy(lanes, &total, sizeof total);
  for (int i = 0; i < kRowsAtOnce; i++) {
    out[i] = lanes[i];
    for (int at = i + kRowsAtOnce; at < W; at += kRowsAtOnce) {
      out[i] += lanes[at];
    }
  }
}

// Of one row, below 2^31.
inline int32_t squared_norm(const int16_t* codes, int64_t n) {
  int32_t sum = 0;
  for (int64_t p = 0; p < n; p++) {
    sum += static_cast<int32_t>(codes[p]) * codes[p];
  }
  return sum;
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
