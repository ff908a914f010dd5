// Lower bounds of the distances of all points to all centroids, kept from one assignment to the next in bytes
// (C. Elkan, "Using the triangle inequality to accelerate k-means", ICML 2003): when a centroid has moved by t, they
// are lower by t. A pair whose bound is above the distance of the point's last centroid need not be looked at.
#pragma once

#include "cpu/kmeans_codes.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

inline constexpr float kMostBound = 255;
inline constexpr double kSafely = 1 + 0x1p-20;  // more than the roundings of a short float32 expression

// Whether this assignment leaves bounds to the next.
inline bool keeps_bounds(const KmeansAssignArgs& a) {
  return a.memory && a.memory->bounds && a.memory->calls > 0;
}

typedef uint8_t vbytes __attribute__((vector_size(32)));

// Lowers a row of bounds, and returns how many are at most `most`.
inline int64_t lower_bounds(uint8_t* bounds, const uint8_t* moved, int64_t width, int most) {
  const vbytes limit = vbytes{} + static_cast<uint8_t>(most);
  int64_t left = 0;
  for (int64_t j = 0; j < width; j += sizeof(vbytes)) {
    vbytes bound = load_as<vbytes>(bounds + j), step = load_as<vbytes>(moved + j);
    bound = bound > step ? bound - step : vbytes{};
    __builtin_memcpy(bounds + j, &bound, sizeof bound);
    auto near = (vbytes)(bound <= limit);
    uint64_t words[4];
    __builtin_memcpy(words, &near, sizeof near);
    for (uint64_t word : words) {
      left += __builtin_popcountll(word) / 8;
    }
  }
  return left;
}

// Calls f(j) for each bound that is at most `most`.
template <typename F>
void each_near(const uint8_t* bounds, int64_t width, int most, F f) {
  const vbytes limit = vbytes{} + static_cast<uint8_t>(most);
  for (int64_t j = 0; j < width; j += sizeof(vbytes)) {
    auto near = (vbytes)(load_as<vbytes>(bounds + j) <= limit);
    uint64_t words[4];
    __builtin_memcpy(words, &near, sizeof near);
    for (int w = 0; w < 4; w++) {
      for (uint64_t left = words[w] & 0x8080808080808080; left; left &= left - 1) {
        f(j + 8 * w + __builtin_ctzll(left) / 8);
      }
    }
  }
}

METALFAISS_INLINE vf square_roots(vf v) {
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_sqrt_ps(0xffff, (__m512)v);
#elif defined(__AVX2__)
  return (vf)_mm256_sqrt_ps((__m256)v);
#elif defined(__x86_64__)
  return (vf)_mm_sqrt_ps((__m128)v);
#elif defined(__aarch64__)
  return (vf)vsqrtq_f32((float32x4_t)v);
#else
  for (int i = 0; i < W; i++) {
    v[i] = __builtin_sqrtf(v[i]);
  }
  return v;
#endif
}

// A tile's distances to a point as bounds, rounded down.
METALFAISS_INLINE void store_bounds(const vf (&distances)[kTileVectors], float per_step, uint8_t* out) {
  vi bounds[kTileVectors];
  for (int j = 0; j < kTileVectors; j++) {
    vf bound = distances[j] * broadcast(per_step), most = broadcast(kMostBound);
    bounds[j] = __builtin_convertvector(bound < most ? bound : most, vi);
  }
#if defined(__AVX2__) && !defined(__AVX512F__)
  const __m256i words = _mm256_packus_epi32((__m256i)bounds[0], (__m256i)bounds[1]);
  const __m256i bytes =
      _mm256_permutevar8x32_epi32(_mm256_packus_epi16(words, words), _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_castsi256_si128(bytes));
#else
  typedef uint8_t vnarrow __attribute__((vector_size(W)));
  for (int j = 0; j < kTileVectors; j++) {
    auto bytes = __builtin_convertvector(bounds[j], vnarrow);
    __builtin_memcpy(out + j * W, &bytes, sizeof bytes);
  }
#endif
}

// How far each centroid moved, rounded up.
inline void moved_by(const float* before, const float* now, int64_t k, int64_t d, double step, uint8_t* out) {
  for (int64_t j = 0; j < k; j++) {
    double moved = exact_sum<false>(now + j * d, before + j * d, d);
    double steps = __builtin_ceil(__builtin_sqrt(moved) * kSafely / step);
    out[j] = static_cast<uint8_t>(steps <= kMostBound ? steps : kMostBound);
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
