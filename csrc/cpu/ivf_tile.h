// Distances of a few rows to a few queries, all of them where they lie: every vector loaded serves a row or a column of
// a tile of sums. No row is packed: a list is read by a handful of queries, and to pack it would cost as much.
//
// For L2 it sums (q - b)^2, so that the error is relative to the distance; for inner products -q.b, with an error
// relative to |q| |b| (knn_direct.h).
#pragma once

#include "cpu/knn_direct.h"
#include "cpu/transpose.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

// Sums, a row and a query: as many as registers hold.
inline constexpr int kScanTileRows = kVectorRegisters == 32 ? 4 : 3;
inline constexpr int kScanTileQueries = kVectorRegisters == 32 ? 4 : 3;
inline constexpr int kScanSingleRows = 6;  // with one query
inline constexpr int kScanRows = 48;       // of a block: a multiple of all of these and of W
inline constexpr int kScanQueries = 48;

// The sums of four vectors, in lanes 0 to 3.
METALFAISS_INLINE v4f sum_fours(vf a, vf b, vf c, vf d) {
  vf v[4] = {a, b, c, d};
  transpose_fours(v);
  vf lanes = (v[0] + v[1]) + (v[2] + v[3]);
  v4f parts[W / 4];
  __builtin_memcpy(parts, &lanes, sizeof lanes);
  v4f total = parts[0];
  for (int i = 1; i < W / 4; i++) {
    total += parts[i];
  }
  return total;
}

// rows[0..R) against queries[0..Q): out[q * kScanRows + r].
template <bool kInnerProduct, int R, int Q>
METALFAISS_INLINE void scan_tile(const float* const* rows, const float* const* queries, int64_t d, float* out) {
  vf total[R * Q] = {};
  auto add = [&](auto load_at) {
    vf b[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      b[r] = load_at(rows[r]);
    }
#pragma GCC unroll 8
    for (int q = 0; q < Q; q++) {
      vf x = load_at(queries[q]);
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) {
        vf& sum = total[q * R + r];
        vf difference = b[r] - x;
        sum = kInnerProduct ? sum - b[r] * x : fma(difference, difference, sum);
      }
    }
  };
  int64_t p = 0;
  for (; p + W <= d; p += W) {
    add([&](const float* at) { return load(at + p); });
  }
  if (p < d) {
    int lanes = static_cast<int>(d - p);
    add([&](const float* at) { return load_first(at + p, lanes); });
  }
  for (int i = 0; i < R * Q; i += 4) {
    constexpr int kLast = R * Q - 1;
    auto sum_at = [&](int at) { return total[at < kLast ? at : kLast]; };
    v4f sums = sum_fours(sum_at(i), sum_at(i + 1), sum_at(i + 2), sum_at(i + 3));
    for (int j = 0; j < 4; j++) {
      if (i + j <= kLast) {
        out[(i + j) / R * kScanRows + (i + j) % R] = sums[j];
      }
    }
  }
}

// All rows, of which there are room for a multiple of every tile (the last ones repeated), against some queries.
template <bool kInnerProduct>
void scan_block(const float* const* rows, int64_t num_rows, const float* const* queries, int64_t num_queries, int64_t d,
                float* out) {
  int64_t q = 0;
  if (num_queries >= kScanTileQueries) {
    for (int64_t r = 0; r < num_rows; r += kScanTileRows) {
      for (q = 0; q + kScanTileQueries <= num_queries; q += kScanTileQueries) {
        scan_tile<kInnerProduct, kScanTileRows, kScanTileQueries>(rows + r, queries + q, d, out + q * kScanRows + r);
      }
    }
  }
  for (; q < num_queries; q++) {
    for (int64_t r = 0; r < num_rows; r += kScanSingleRows) {
      scan_tile<kInnerProduct, kScanSingleRows, 1>(rows + r, queries + q, d, out + q * kScanRows + r);
    }
  }
}

// A norm, rounded up, of its square as float32 sums have it.
METALFAISS_INLINE float norm_of(float norm2, int64_t d) {
  return round_up(__builtin_sqrt(norm2 * (1 + direct_error(d)) + (d + 64) * kTiny));
}

// The largest |b| of the rows, rounded up; +inf or NaN where a row is too large or not finite.
inline float largest_norm(const float* const* rows, int64_t num_rows, int64_t d) {
  float norm2 = 0;
  for (int64_t r = 0; r < num_rows; r++) {
    vf sums[2] = {};
    int64_t p = 0;
    for (; p + W <= d; p += W) {
      vf b = load(rows[r] + p);
      sums[p / W % 2] = fma(b, b, sums[p / W % 2]);
    }
    if (p < d) {
      vf b = load_first(rows[r] + p, static_cast<int>(d - p));
      sums[0] = fma(b, b, sums[0]);
    }
    float square = sum(sums[0] + sums[1]);
    norm2 = square <= norm2 ? norm2 : square;  // NaN replaces
    if (!(norm2 <= kFloatMax)) {
      break;
    }
  }
  return norm_of(norm2, d);
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
