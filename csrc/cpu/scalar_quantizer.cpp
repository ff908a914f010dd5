#include "cpu/scalar_quantizer.h"

#include "cpu/integers.h"
#include "cpu/parallel.h"
#include "cpu/sq_rows.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

constexpr int64_t kComponentsPerTask = 1 << 16;

// The level of a component, as FAISS rounds it: for 8 bits the product is rounded to float32 first, for fewer it is
// not.
template <CodeType type>
METALFAISS_INLINE uint32_t level_of(float x, float vmin, float vdiff) {
  float place = vdiff != 0 ? (x - vmin) / vdiff : 0.0f;
  place = place > 0 ? place : 0.0f;  // NaN becomes 0
  place = place < 1 ? place : 1.0f;
  if constexpr (type == CodeType::sq8) {
    return static_cast<uint32_t>(static_cast<int32_t>(255 * place));
  } else {
    return static_cast<uint32_t>(static_cast<int32_t>(place * static_cast<double>(kLevels<type>)));
  }
}

template <CodeType type>
void encode_scaled(const RowCodec& codec, const float* x, uint8_t* code) {
  auto level = [&](int64_t p) { return level_of<type>(x[p], codec.vmin[p], codec.vdiff[p]); };
  int64_t d = codec.d, p = 0;
  if constexpr (type == CodeType::sq8) {
    for (; p < d; p++) {
      code[p] = static_cast<uint8_t>(level(p));
    }
  } else if constexpr (type == CodeType::sq4) {
    for (; p + 2 <= d; p += 2) {
      code[p / 2] = static_cast<uint8_t>(level(p) | level(p + 1) << 4);
    }
    if (p < d) {
      code[p / 2] = static_cast<uint8_t>(level(p));
    }
  } else {
    for (; p < d; p += 4, code += 3) {
      uint32_t word = 0;
      int64_t left = at_most(4, d - p);
      for (int64_t i = 0; i < left; i++) {
        word |= level(p + i) << (6 * i);
      }
      __builtin_memcpy(code, &word, ceil_div(6 * left, 8));
    }
  }
}

// Ties away from zero, as FAISS does: half of the last place is added to the magnitude, which is then cut off.
void encode_halves_away_from_zero(const float* x, int64_t d, uint8_t* code) {
  for (int64_t p = 0; p < d; p++) {
    uint32_t bits;
    __builtin_memcpy(&bits, x + p, 4);
    uint32_t sign = (bits >> 16) & 0x8000u, a = bits & 0x7fffffffu, half;
    if (a > 0x7f800000u) {
      half = 0x7e00u;
    } else if (a >= (113u << 23)) {  // a normal number, or too large for one
      half = a >= 0x47800000u - 0x1000u ? 0x7c00u : (a + 0x1000u - (112u << 23)) >> 13;
    } else {
      uint32_t shift = 126 - (a >> 23), mantissa = (a & 0x7fffffu) | 0x800000u;
      half = shift > 24 ? 0 : (mantissa + (1u << (shift - 1))) >> shift;
    }
    uint16_t out = static_cast<uint16_t>(sign | half);
    __builtin_memcpy(code + 2 * p, &out, 2);
  }
}

void encode_row(const RowCodec& codec, const float* x, uint8_t* code) {
  int64_t d = codec.d;
  switch (codec.type) {
    case CodeType::f32:
      __builtin_memcpy(code, x, d * sizeof(float));
      return;
    case CodeType::f16:
      return encode_halves_away_from_zero(x, d, code);
    case CodeType::bf16:  // ties away from zero, as FAISS does
      for (int64_t p = 0; p < d; p++) {
        uint32_t bits;
        __builtin_memcpy(&bits, x + p, 4);
        uint16_t rounded = static_cast<uint16_t>((bits + 0x8000u) >> 16);
        __builtin_memcpy(code + 2 * p, &rounded, 2);
      }
      return;
    case CodeType::u8:
      for (int64_t p = 0; p < d; p++) {
        code[p] = static_cast<uint8_t>(static_cast<int32_t>(x[p]));
      }
      return;
    case CodeType::s8:
      for (int64_t p = 0; p < d; p++) {
        code[p] = static_cast<uint8_t>(static_cast<int32_t>(x[p] + 128.0f));
      }
      return;
    case CodeType::sq8:
      return encode_scaled<CodeType::sq8>(codec, x, code);
    case CodeType::sq6:
      return encode_scaled<CodeType::sq6>(codec, x, code);
    case CodeType::sq4:
      return encode_scaled<CodeType::sq4>(codec, x, code);
  }
}

}  // namespace

void scalar_encode(const EncodeArgs& args) {
  int64_t d = args.codec.d, size = args.codec.code_size(), step = at_least(1, kComponentsPerTask / at_least(1, d));
  parallel_for(ceil_div(args.n, step), [&](int64_t task) {
    for (int64_t i = task * step; i < at_most(args.n, (task + 1) * step); i++) {
      encode_row(args.codec, args.x + i * d, args.codes + i * size);
    }
  });
}

void scalar_decode(const DecodeArgs& args) {
  int64_t d = args.codec.d, size = args.codec.code_size(), step = at_least(1, kComponentsPerTask / at_least(1, d));
  parallel_for(ceil_div(args.n, step), [&](int64_t task) {
    for (int64_t i = task * step; i < at_most(args.n, (task + 1) * step); i++) {
      decode_row(args.codec, args.codes + i * size, nullptr, args.x + i * d);
    }
  });
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
