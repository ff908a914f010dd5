// Integers stored by their low bits. GCC 12 takes a __builtin_convertvector to fewer bits apart into single lanes.
#pragma once

#include "cpu/simd.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

// W bytes.
METALFAISS_INLINE void store_bytes(uint8_t* p, vi v) {
#if defined(__AVX512F__)
  __m128i out = _mm512_maskz_cvtepi32_epi8(0xffff, (__m512i)v);
  __builtin_memcpy(p, &out, sizeof out);
#elif defined(__AVX2__)
  const __m256i low = (__m256i)(v & 0xff), words = _mm256_packus_epi32(low, low);
  const __m256i bytes = _mm256_packus_epi16(words, words);
  const __m128i out = _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), out);
#else
  typedef uint8_t vbytes_of_w __attribute__((vector_size(W)));
  auto out = __builtin_convertvector(v, vbytes_of_w);
  __builtin_memcpy(p, &out, sizeof out);
#endif
}

// W words of 16 bits.
METALFAISS_INLINE void store_words(uint16_t* p, vi v) {
#if defined(__AVX512F__)
  __m256i out = _mm512_maskz_cvtepi32_epi16(0xffff, (__m512i)v);
#elif defined(__AVX2__)
  const __m256i low = (__m256i)(v & 0xffff);
  __m128i out = _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
#else
  auto out = __builtin_convertvector(v, vu16);
#endif
  __builtin_memcpy(p, &out, sizeof out);
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
