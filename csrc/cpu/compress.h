// Keeping some lanes of a vector: the chosen lanes move to the front, in their order.
#pragma once

#include "cpu/simd.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

#if (defined(__AVX2__) && !defined(__AVX512F__)) || defined(__aarch64__)
// For every mask of W lanes: the byte offsets (NEON) or the numbers (AVX2) of the chosen lanes.
struct LaneTable {
#if defined(__aarch64__)
  uint8_t at[1 << W][16];
#else
  uint8_t at[1 << W][W];
#endif
};

constexpr LaneTable lane_table() {
  LaneTable t{};
  for (int mask = 0; mask < 1 << W; mask++) {
    int to = 0;
    for (int lane = 0; lane < W; lane++) {
      if (mask >> lane & 1) {
#if defined(__aarch64__)
        for (int byte = 0; byte < 4; byte++) {
          t.at[mask][4 * to + byte] = static_cast<uint8_t>(4 * lane + byte);
        }
        to++;
#else
        t.at[mask][to++] = static_cast<uint8_t>(lane);
#endif
      }
    }
  }
  return t;
}

inline constexpr LaneTable kLaneTable = lane_table();
#endif

// Stores the lanes of v whose bit is set at p and on; returns how many. Writes up to W lanes, whatever the mask.
METALFAISS_INLINE int compress_store(uint32_t* p, vu v, uint32_t mask) {
#if defined(__AVX512F__)
  v = (vu)_mm512_maskz_compress_epi32(static_cast<__mmask16>(mask), (__m512i)v);
  __builtin_memcpy(p, &v, sizeof v);
#elif defined(__AVX2__)
  __m256i lanes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(kLaneTable.at[mask])));
  v = (vu)_mm256_permutevar8x32_epi32((__m256i)v, lanes);
  __builtin_memcpy(p, &v, sizeof v);
#elif defined(__aarch64__)
  v = (vu)vqtbl1q_u8((uint8x16_t)v, vld1q_u8(kLaneTable.at[mask]));
  __builtin_memcpy(p, &v, sizeof v);
#else
  uint32_t lane[W];
  __builtin_memcpy(lane, &v, sizeof v);
  int to = 0;
  for (int i = 0; i < W; i++) {
    p[to] = lane[i];
    to += mask >> i & 1;
  }
  return to;
#endif
#if defined(__AVX2__) || defined(__aarch64__)
  return __builtin_popcount(mask);
#endif
}
METALFAISS_INLINE int compress_store(int32_t* p, vi v, uint32_t mask) {
  return compress_store(reinterpret_cast<uint32_t*>(p), (vu)v, mask);
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
