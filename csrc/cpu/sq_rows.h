// Decoding in registers: W components of a code at a time.
#pragma once

#include "cpu/row_codec.h"
#include "cpu/simd.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

typedef uint8_t vu8 __attribute__((vector_size(W)));

// W bytes as integers. GCC 12 takes a __builtin_convertvector of them apart into words.
METALFAISS_INLINE vu load_bytes(const uint8_t* p) {
#if defined(__AVX512F__)
  return (vu)_mm512_maskz_cvtepu8_epi32(0xffff, load_as<__m128i>(p));
#elif defined(__AVX2__)
  return (vu)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
#else
  return __builtin_convertvector(load_as<vu8>(p), vu);
#endif
}

template <CodeType type>
inline constexpr bool kScaled = type == CodeType::sq8 || type == CodeType::sq6 || type == CodeType::sq4;

template <CodeType type>
inline constexpr float kLevels = type == CodeType::sq8   ? 255.0f
                                 : type == CodeType::sq6 ? 63.0f
                                                         : 15.0f;

// W levels of 4 bits. Vectors are not put together lane by lane, nor from parts in memory: both take several times as
// long as all the rest (of a query's codes).
METALFAISS_INLINE vu load_fours(const uint8_t* p) {
  vu shift;
  for (int i = 0; i < W; i++) {
    shift[i] = 4 * (i % 8);
  }
#if defined(__AVX512F__)
  const __m512i words = _mm512_mask_set1_epi32(_mm512_set1_epi32(load_as<int32_t>(p)), 0xff00, load_as<int32_t>(p + 4));
#elif defined(__AVX2__)
  const vu words = vu{} + load_as<uint32_t>(p);
#else
  const vu words = vu{} + load_as<uint16_t>(p);
#endif
  return ((vu)words >> shift) & 15u;
}

// W levels of 6 bits: four lanes shift a word of their three bytes.
METALFAISS_INLINE vu load_sixes(const uint8_t* p) {
  vu shift;
  for (int i = 0; i < W; i++) {
    shift[i] = 6 * (i % 4);
  }
#if defined(__AVX512F__)
  const __m128i bytes = _mm_set_epi64x(load_as<uint32_t>(p + 8), load_as<int64_t>(p));
  const vu place = {0x03020100, 0x03020100, 0x03020100, 0x03020100, 0x06050403, 0x06050403, 0x06050403, 0x06050403,
                    0x09080706, 0x09080706, 0x09080706, 0x09080706, 0x0c0b0a09, 0x0c0b0a09, 0x0c0b0a09, 0x0c0b0a09};
  const auto words = (vu)_mm512_shuffle_epi8(_mm512_maskz_broadcast_i32x4(0xffff, bytes), (__m512i)place);
#elif defined(__AVX2__)
  const uint64_t low = load_as<uint32_t>(p), high = load_as<uint16_t>(p + 4);
  const vu place = {0x03020100, 0x03020100, 0x03020100, 0x03020100, 0x06050403, 0x06050403, 0x06050403, 0x06050403};
  const auto words =
      (vu)_mm256_shuffle_epi8(_mm256_set1_epi64x(static_cast<int64_t>(low | high << 32)), (__m256i)place);
#else
  const vu words = vu{} + (load_as<uint16_t>(p) | static_cast<uint32_t>(p[2]) << 16);
#endif
  return (words >> shift) & 63u;
}

// Components [p, p + W) of a code as integers, p a multiple of W. Reads nothing behind them.
template <CodeType type>
METALFAISS_INLINE vu load_levels(const uint8_t* code, int64_t p) {
  if constexpr (type == CodeType::sq4) {
    return load_fours(code + p / 2);
  } else if constexpr (type == CodeType::sq6) {
    return load_sixes(code + p / 4 * 3);
  } else {
    return load_bytes(code + p);
  }
}

template <CodeType type>
METALFAISS_INLINE uint32_t level_at(const uint8_t* code, int64_t p) {
  if constexpr (type == CodeType::sq4) {
    return (code[p / 2] >> (4 * (p % 2))) & 15u;
  } else if constexpr (type == CodeType::sq6) {
    int64_t bit = 6 * p;
    uint32_t low = code[bit / 8], high = bit % 8 > 2 ? code[bit / 8 + 1] : 0;
    return ((low | high << 8) >> (bit % 8)) & 63u;
  } else {
    return code[p];
  }
}

// What W levels of components [p, p + W) stand for.
template <CodeType type>
METALFAISS_INLINE vf value_of_levels(const RowCodec& codec, vu levels, int64_t p) {
  vf x = __builtin_convertvector((vi)levels, vf);
  if constexpr (kScaled<type>) {
    const float inverse = 1.0f / kLevels<type>;
    return fma((x + 0.5f) * inverse, load(codec.vdiff + p), load(codec.vmin + p));
  } else if constexpr (type == CodeType::s8) {
    return x - 128.0f;
  }
  return x;
}

template <CodeType type>
METALFAISS_INLINE float value_of_level(const RowCodec& codec, uint32_t level, int64_t p) {
  float x = static_cast<float>(level);
  if constexpr (kScaled<type>) {
    const float inverse = 1.0f / kLevels<type>;
    return __builtin_fmaf((x + 0.5f) * inverse, codec.vdiff[p], codec.vmin[p]);
  } else if constexpr (type == CodeType::s8) {
    return x - 128.0f;
  }
  return x;
}

// Components [p, p + W) of a code, p a multiple of W; and component p.
template <CodeType type>
METALFAISS_INLINE vf load_values(const RowCodec& codec, const uint8_t* code, int64_t p) {
  if constexpr (type == CodeType::f16) {
    return load(reinterpret_cast<const half_t*>(code) + p);
  } else if constexpr (type == CodeType::bf16) {
    return load(reinterpret_cast<const bfloat_t*>(code) + p);
  } else {
    return value_of_levels<type>(codec, load_levels<type>(code, p), p);
  }
}
template <CodeType type>
METALFAISS_INLINE float value_at(const RowCodec& codec, const uint8_t* code, int64_t p) {
  if constexpr (type == CodeType::f16) {
    return load_one(reinterpret_cast<const half_t*>(code) + p);
  } else if constexpr (type == CodeType::bf16) {
    return load_one(reinterpret_cast<const bfloat_t*>(code) + p);
  } else {
    return value_of_level<type>(codec, level_at<type>(code, p), p);
  }
}

// A whole row: `add` (d floats, or null) is added to it.
template <CodeType type>
METALFAISS_INLINE void decode_levels(const RowCodec& codec, const uint8_t* code, const float* add, float* out) {
  int64_t p = 0;
  for (; p + W <= codec.d; p += W) {
    vf x = load_values<type>(codec, code, p);
    store(out + p, add ? x + load(add + p) : x);
  }
  for (; p < codec.d; p++) {
    float x = value_at<type>(codec, code, p);
    out[p] = add ? x + add[p] : x;
  }
}

template <typename T>
METALFAISS_INLINE void decode_floats(const RowCodec& codec, const uint8_t* code, const float* add, float* out) {
  const T* row = reinterpret_cast<const T*>(code);
  for (int64_t p = 0; p < codec.d; p += W) {
    int lanes = codec.d - p < W ? static_cast<int>(codec.d - p) : W;
    vf x = lanes == W ? load(row + p) : load_first(row + p, lanes);
    if (add) {
      x += lanes == W ? load(add + p) : load_first(add + p, lanes);
    }
    lanes == W ? store(out + p, x) : store_first(out + p, x, lanes);
  }
}

inline __attribute__((noinline)) void decode_row(const RowCodec& codec, const uint8_t* code, const float* add,
                                                 float* out) {
  switch (codec.type) {
    case CodeType::f32:
      return decode_floats<float>(codec, code, add, out);
    case CodeType::f16:
      return decode_floats<half_t>(codec, code, add, out);
    case CodeType::bf16:
      return decode_floats<bfloat_t>(codec, code, add, out);
    case CodeType::u8:
      return decode_levels<CodeType::u8>(codec, code, add, out);
    case CodeType::s8:
      return decode_levels<CodeType::s8>(codec, code, add, out);
    case CodeType::sq8:
      return decode_levels<CodeType::sq8>(codec, code, add, out);
    case CodeType::sq6:
      return decode_levels<CodeType::sq6>(codec, code, add, out);
    case CodeType::sq4:
      return decode_levels<CodeType::sq4>(codec, code, add, out);
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
