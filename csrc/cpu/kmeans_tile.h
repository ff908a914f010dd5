// A tile of the product of vectors that were rounded to 8-bit integers. Both sides are panels, [step][row][kGroup].
//
// On x86 an instruction multiplies 32 bytes (AVX2) of points, without sign, with as many of rows, and adds neighbours
// to 16 bits: four times the multiply-adds of float32 in a cycle. The sums wrap, but for their last value, that of
// kHalf coordinates of each side, whose norm a rounding keeps below kHalfNorm: 16 bits hold it (Cauchy-Schwarz). The
// offset that makes points positive is taken off at the start: what is behind it is a sum modulo 2^16, too.
#pragma once

#include "cpu/integers.h"
#include "cpu/knn_panels.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

#if defined(__AVX2__)
typedef int8_t Code;
inline constexpr int kGroup = 4;  // neighbouring coordinates of a step
inline constexpr int kOffset = 64;
#elif defined(__ARM_FEATURE_DOTPROD)
typedef int8_t Code;
inline constexpr int kGroup = 4;
inline constexpr int kOffset = 0;
#elif defined(__x86_64__)
typedef int16_t Code;
inline constexpr int kGroup = 2;
inline constexpr int kOffset = 0;
#else
typedef int16_t Code;
inline constexpr int kGroup = 1;
inline constexpr int kOffset = 0;
#endif

inline constexpr int64_t kChunk = 256;    // coordinates that are summed in 16 bits, half of them in a lane
inline constexpr double kHalfNorm = 175;  // (175 + sqrt(128) / 2)^2 < 2^15
inline constexpr int kMostOfPoint = 63;   // of a code: 2 (63 + 64) 127 < 2^15
inline constexpr int kMostOfRow = 127;

// Steps of d coordinates: before those of each chunk of a panel of rows comes one that holds what its sums start at.
constexpr int64_t code_steps(int64_t d) {
  return ceil_div(d, kGroup);
}
constexpr int64_t row_steps(int64_t d) {
  return code_steps(d) + ceil_div(d, kChunk);
}

struct CodeTile {
  const Code* points;  // [code_steps][rows of the tile][kGroup]
  const Code* rows;    // [row_steps][kTileCols][kGroup]
  int64_t d;
  // What a product becomes: product * point scale * row scale + row_add - error of a point * length of a row -
  // length of a point * error of a row.
  const float *point_scales, *point_errors, *point_lengths;
  const float *row_scales, *row_add, *row_errors, *row_lengths;
  float* out;     // [rows of the tile][kTileCols]
  float* lowest;  // [rows of the tile][W]: the lower of each two, kTileVectors apart
};

#if defined(__AVX2__)
typedef int16_t vi16_sum __attribute__((vector_size(4 * W)));  // two neighbours a row
typedef vi16_sum CodeSum;
typedef int8_t vcode __attribute__((vector_size(4 * W)));

METALFAISS_INLINE CodeSum start_of(const Code* step) {
  return load_as<CodeSum>(step);
}
METALFAISS_INLINE CodeSum multiply_add(CodeSum sum, vi point, vcode row) {
#if defined(__AVX512F__)
  return sum + (CodeSum)_mm512_maddubs_epi16((__m512i)point, (__m512i)row);
#else
  return sum + (CodeSum)_mm256_maddubs_epi16((__m256i)point, (__m256i)row);
#endif
}
METALFAISS_INLINE vi total_of(CodeSum sum) {
#if defined(__AVX512F__)
  return (vi)_mm512_madd_epi16((__m512i)sum, _mm512_set1_epi16(1));
#else
  return (vi)_mm256_madd_epi16((__m256i)sum, _mm256_set1_epi16(1));
#endif
}
#else
typedef vi CodeSum;

METALFAISS_INLINE CodeSum start_of(const Code*) {
  return CodeSum{};
}
METALFAISS_INLINE vi total_of(CodeSum sum) {
  return sum;
}
#if defined(__ARM_FEATURE_DOTPROD)
typedef int8_t vcode __attribute__((vector_size(4 * W)));
METALFAISS_INLINE CodeSum multiply_add(CodeSum sum, vi point, vcode row) {
  return (CodeSum)vdotq_s32((int32x4_t)sum, (int8x16_t)point, (int8x16_t)row);
}
#elif defined(__x86_64__)
typedef int16_t vcode __attribute__((vector_size(4 * W)));
METALFAISS_INLINE CodeSum multiply_add(CodeSum sum, vi point, vcode row) {
  return sum + (vi)_mm_madd_epi16((__m128i)point, (__m128i)row);
}
#else
typedef vi16 vcode;
METALFAISS_INLINE CodeSum multiply_add(CodeSum sum, vi point, vcode row) {
  return sum + point * __builtin_convertvector(row, vi);
}
#endif
#endif

METALFAISS_INLINE vi broadcast_group(const Code* codes) {
  if constexpr (kGroup == 1) {
    return codes[0] - vi{};
  } else {
    int32_t group;
    __builtin_memcpy(&group, codes, sizeof group);
    return group - vi{};
  }
}

// Sums of products of `steps` steps, which start at what the first step of rows holds.
template <int M>
METALFAISS_INLINE void multiply_chunk(const Code* point, const Code* row, int64_t steps,
                                      CodeSum (&sum)[M][kTileVectors]) {
#pragma GCC unroll 16
  for (int i = 0; i < M; i++) {
#pragma GCC unroll 4
    for (int j = 0; j < kTileVectors; j++) {
      sum[i][j] = start_of(row + j * W * kGroup);
    }
  }
  for (int64_t step = 0; step < steps; step++, point += M * kGroup) {
    row += kTileCols * kGroup;
    vcode codes[kTileVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kTileVectors; j++) {
      codes[j] = load_as<vcode>(row + j * W * kGroup);
    }
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
      vi x = broadcast_group(point + i * kGroup);
#pragma GCC unroll 4
      for (int j = 0; j < kTileVectors; j++) {
        sum[i][j] = multiply_add(sum[i][j], x, codes[j]);
      }
    }
  }
}

template <int M>
void multiply_codes(const CodeTile& tile) {
  const CodeTile t = tile;  // of which no store can change anything
  vi total[M][kTileVectors] = {};
  CodeSum sum[M][kTileVectors];
  const Code *point = t.points, *row = t.rows;
  int64_t left = t.d;
  for (; left > kChunk; left -= kChunk) {
    constexpr int64_t kSteps = code_steps(kChunk);
    multiply_chunk<M>(point, row, kSteps, sum);
    point += kSteps * M * kGroup;
    row += (kSteps + 1) * kTileCols * kGroup;
    for (int i = 0; i < M; i++) {
      for (int j = 0; j < kTileVectors; j++) {
        total[i][j] += total_of(sum[i][j]);
      }
    }
  }
  multiply_chunk<M>(point, row, code_steps(left), sum);
  vf scales[kTileVectors], add[kTileVectors], lengths[kTileVectors], errors[kTileVectors];
#pragma GCC unroll 4
  for (int j = 0; j < kTileVectors; j++) {
    scales[j] = load(t.row_scales + j * W);
    add[j] = load(t.row_add + j * W);
    lengths[j] = load(t.row_lengths + j * W);
    errors[j] = load(t.row_errors + j * W);
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; i++) {
    vf scale = broadcast(t.point_scales[i]), error = broadcast(t.point_errors[i]);
    vf length = broadcast(t.point_lengths[i]), lowest{};
#pragma GCC unroll 4
    for (int j = 0; j < kTileVectors; j++) {
      vf value = __builtin_convertvector(total[i][j] + total_of(sum[i][j]), vf) * scales[j];
      value = fma(value, scale, add[j]);
      value = fma(-error, lengths[j], value);
      value = fma(-length, errors[j], value);
      store(t.out + i * kTileCols + j * W, value);
      lowest = j == 0 ? value : value < lowest ? value : lowest;
    }
    store(t.lowest + i * W, lowest);
  }
}

using MultiplyCodes = void (*)(const CodeTile&);

template <int M>
MultiplyCodes multiply_codes_of(int64_t rows) {
  if constexpr (M > 1) {
    if (rows < M) {
      return multiply_codes_of<M - 1>(rows);
    }
  }
  return multiply_codes<M>;
}

// The products of a point's codes, without offset, with those of kRowsAtOnce rows, n of each: a multiple of 32.
inline constexpr int kRowsAtOnce = 4;
METALFAISS_INLINE void multiply_rows(const Code* point, const Code* const* rows, int64_t n, int32_t* out) {
#if defined(__AVX2__)
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i total[kRowsAtOnce] = {};
  for (int64_t first = 0; first < n; first += kChunk) {
    __m256i sum[kRowsAtOnce] = {};
    for (int64_t p = first; p < at_most(first + kChunk, n); p += 32) {
      const auto x = load_as<__m256i>(point + p);
      const __m256i magnitude = _mm256_abs_epi8(x);
#pragma GCC unroll 4
      for (int i = 0; i < kRowsAtOnce; i++) {
        const __m256i signs = _mm256_sign_epi8(load_as<__m256i>(rows[i] + p), x);
        sum[i] = _mm256_add_epi16(sum[i], _mm256_maddubs_epi16(magnitude, signs));
      }
    }
    for (int i = 0; i < kRowsAtOnce; i++) {
      total[i] = _mm256_add_epi32(total[i], _mm256_madd_epi16(sum[i], ones));
    }
  }
  __m256i pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(total[0], total[1]), _mm256_hadd_epi32(total[2], total[3]));
  __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
  __builtin_memcpy(out, &sums, sizeof sums);
#else
  CodeSum sum[kRowsAtOnce] = {};
  for (int64_t p = 0; p < n; p += W * kGroup) {
    for (int i = 0; i < kRowsAtOnce; i++) {
#if defined(__ARM_FEATURE_DOTPROD) || defined(__x86_64__)
      sum[i] = multiply_add(sum[i], load_as<vi>(point + p), load_as<vcode>(rows[i] + p));
#else
      sum[i] =
          multiply_add(sum[i], __builtin_convertvector(load_as<vcode>(point + p), vi), load_as<vcode>(rows[i] + p));
#endif
    }
  }
  for (int i = 0; i < kRowsAtOnce; i++) {
    out[i] = metalfaiss::cpu::METALFAISS_SIMD_LEVEL::sum(sum[i]);
  }
#endif
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
