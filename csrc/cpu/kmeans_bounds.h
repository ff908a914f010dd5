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

inline constexpr int64_t kBoundsAtOnce = 64;

// A bit for each of kBoundsAtOnce bounds that is at most `most`.
METALFAISS_INLINE uint64_t near_bits(const uint8_t* bounds, int most) {
#if defined(__AVX512BW__)
  return _mm512_cmple_epu8_mask(load_as<__m512i>(bounds), _mm512_set1_epi8(static_cast<char>(most)));
#else
  typedef uint8_t vbytes __attribute__((vector_size(16)));
  uint64_t out = 0;
  for (int64_t i = 0; i < kBoundsAtOnce; i += 16) {
    auto near = (vbytes)(load_as<vbytes>(bounds + i) <= vbytes{} + static_cast<uint8_t>(most));
#if defined(__x86_64__)
    out |= static_cast<uint64_t>(static_cast<uint16_t>(_mm_movemask_epi8((__m128i)near))) << i;
#else
    uint64_t halves[2];
    __builtin_memcpy(halves, &near, sizeof near);
    for (int j = 0; j < 2; j++) {  // byte b leaves bit b, and the product adds them up in its last byte
      out |= ((halves[j] & 0x8040201008040201) * 0x0101010101010101 >> 56) << (i + 8 * j);
    }
#endif
  }
  return out;
#endif
}

// Lowers a row of bounds, and returns how many are at most `most`.
inline int64_t lower_bounds(uint8_t* bounds, const uint8_t* moved, int64_t width, int most) {
  typedef uint8_t vbytes __attribute__((vector_size(kBoundsAtOnce)));
  int64_t near = 0;
  for (int64_t j = 0; j < width; j += kBoundsAtOnce) {
    vbytes bound = load_as<vbytes>(bounds + j), step = load_as<vbytes>(moved + j);
    bound = bound > step ? bound - step : vbytes{};
    __builtin_memcpy(bounds + j, &bound, sizeof bound);
    near += __builtin_popcountll(near_bits(bounds + j, most));
  }
  return near;
}

// Writes the places of the bounds that are at most `most`, and W more numbers; returns how many they are.
inline int64_t near_places(const uint8_t* bounds, int64_t width, int most, int32_t* out) {
  int64_t n = 0;
  for (int64_t j = 0; j < width; j += kBoundsAtOnce) {
    uint64_t near = near_bits(bounds + j, most);
#if defined(__AVX512F__)
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (int i = 0; near; i += W, near >>= W) {
      auto mask = static_cast<uint16_t>(near);
      __m512i places = _mm512_add_epi32(lanes, _mm512_set1_epi32(static_cast<int>(j) + i));
      _mm512_storeu_si512(out + n, _mm512_maskz_compress_epi32(mask, places));
      n += __builtin_popcount(mask);
    }
#else
    for (; near; near &= near - 1) {
      out[n++] = static_cast<int32_t>(j) + __builtin_ctzll(near);
    }
#endif
  }
  return n;
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

// Squared distances as bounds, rounded down.
METALFAISS_INLINE vi to_bounds(vf distances2, float per_step) {
  vf bound = square_roots(max(distances2, vf{})) * broadcast(per_step), most = broadcast(kMostBound);
  return __builtin_convertvector(bound < most ? bound : most, vi);
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
