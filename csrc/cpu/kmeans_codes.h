// Vectors as 8-bit integers of one scale, in the panels that a CodeTile multiplies, and how far they are from them.
#pragma once

#include "cpu/gemm_pack.h"
#include "cpu/kmeans.h"
#include "cpu/kmeans_tile.h"
#include "cpu/narrow.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

inline constexpr double kLongestVector = 1e18;  // above, a float32 squared norm may overflow; below 1 / it, underflow

// x less `center`, with zeros up to a multiple of W.
inline void centre(const float* x, const float* center, int64_t d, float* out) {
  for (int64_t p = 0; p < d; p += W) {
    int lanes = lanes_left(d - p);
    store(out + p, load_first(x + p, lanes) - load_first(center + p, lanes));
  }
}

// The scale by which no code of d centred coordinates exceeds `most`, nor a sum of half a chunk 16 bits; sets norm2.
inline double scale_of(const float* centred, int64_t d, int most, double* norm2) {
  vf largest{};
  double half2 = 0;
  *norm2 = 0;
  for (int64_t first = 0; first < d; first += kChunk) {
    vf squares{};
    for (int64_t p = first; p < at_most(first + kChunk, d); p += W) {
      vf v = load(centred + p);
      squares = fma(v, v, squares);
      largest = max(largest, abs(v));
    }
    double halves[2] = {};
    for (int i = 0; i < W; i++) {
      halves[i / 2 % 2] += squares[i];
    }
    *norm2 += halves[0] + halves[1];
    half2 = halves[0] > half2 ? halves[0] : half2;
    half2 = halves[1] > half2 ? halves[1] : half2;
  }
  float peak = 0;
  for (int i = 0; i < W; i++) {
    peak = largest[i] > peak ? largest[i] : peak;
  }
  double by_norm = __builtin_sqrt(half2) / kHalfNorm, by_peak = static_cast<double>(peak) / most;
  return (by_norm > by_peak ? by_norm : by_peak) * (1 + 0x1p-16);
}

// Rounds d centred coordinates, zeros behind them, to kmeans_codes_width(d) integers.
inline KmeansRounded round_to_codes(const float* centred, int64_t d, int most, int8_t* codes) {
  constexpr float kInteger = 0x1.8p23f;  // added to a small float, leaves it rounded in the low bits
  KmeansRounded out{};
  double exact_scale = scale_of(centred, d, most, &out.norm2), norm = __builtin_sqrt(out.norm2);
  bool small = norm < 1 / kLongestVector;
  out.known = norm <= kLongestVector && d <= kLongest;
  out.scale = out.known && !small ? static_cast<float>(exact_scale) : 0;
  const vf scale = broadcast(out.scale), inverse = broadcast(out.scale > 0 ? 1 / out.scale : 0);
  vf squares{};
  for (int64_t p = 0; p < kmeans_codes_width(d); p += W) {
    vf value = p < d && out.known ? load(centred + p) : vf{};
    vi rounded = (vi)fma(value, inverse, broadcast(kInteger)) - (vi)broadcast(kInteger);
    vf left = value - __builtin_convertvector(rounded, vf) * scale;
    squares = fma(left, left, squares);
    store_bytes(reinterpret_cast<uint8_t*>(codes + p), rounded);
  }
  // Roundings: of centring, of a code's value, and of the sum of squares.
  double error = __builtin_sqrt(sum(squares)) * (1 + (d + 16) * kRound) + 8 * kRound * norm + (small ? norm : 0);
  out.error = round_up(error + 4 / kLongestVector);
  out.length = round_up(norm * (1 + 128 * kRound) + 1 / kLongestVector);
  return out;
}

// The integers as a tile multiplies them, higher by `offset`.
inline void widen_codes(const int8_t* codes, int64_t n, int offset, Code* out) {
  for (int64_t p = 0; p < n; p++) {
    out[p] = static_cast<Code>(codes[p] + offset);
  }
}

// Puts codes into a panel of points, as row `at` of `rows`.
inline void place_point(const Code* codes, int64_t d, int64_t rows, int64_t at, Code* panel) {
  for (int64_t step = 0; step < code_steps(d); step++) {
    __builtin_memcpy(panel + (step * rows + at) * kGroup, codes + step * kGroup, kGroup * sizeof(Code));
  }
}

// Puts codes into a panel of rows, as column `at`, and what the sums of each chunk start at.
inline void place_row(const Code* codes, int64_t d, int64_t at, Code* panel) {
  Code* to = panel + at * kGroup;
  for (int64_t first = 0; first < d; first += kChunk) {
    Code* start = to;
    int16_t halves[2] = {};
    int64_t end = first / kGroup + code_steps(at_most(kChunk, d - first));
    for (int64_t step = first / kGroup; step < end; step++) {
      to += kTileCols * kGroup;
      __builtin_memcpy(to, codes + step * kGroup, kGroup * sizeof(Code));
      for (int i = 0; i < kGroup; i++) {
        halves[i / 2 % 2] = static_cast<int16_t>(halves[i / 2 % 2] - kOffset * codes[step * kGroup + i]);
      }
    }
    to += kTileCols * kGroup;
    if constexpr (kOffset != 0) {
      __builtin_memcpy(start, halves, sizeof halves);
    }
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
