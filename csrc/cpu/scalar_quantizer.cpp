#include "cpu/scalar_quantizer.h"

#include "cpu/integers.h"
#include "cpu/knn_prepare.h"
#include "cpu/narrow.h"
#include "cpu/parallel.h"
#include "cpu/sq_rows.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

constexpr int64_t kComponentsPerTask = 1 << 16;

constexpr int64_t kBlock = 64;  // levels that are packed in one go: a multiple of W, and whole bytes of every type

// The levels of W components, as FAISS rounds them: for 8 bits the product is rounded to float32 first, for fewer bits
// it is not.
template <CodeType type>
METALFAISS_INLINE vi levels_of(vf x, vf vmin, vf vdiff) {
  vf place = select(vdiff != 0.0f, (x - vmin) / vdiff, vf{});
  place = min(max(place, vf{}), broadcast(1.0f));  // NaN becomes 0
  vi level = __builtin_convertvector(place * kLevels<type>, vi);
  if constexpr (type != CodeType::sq8) {
    // Exact: kLevels + 1 is a power of two, and a difference of near numbers is not rounded.
    level += place * (kLevels<type> + 1) - __builtin_convertvector(level, vf) < place;
  }
  return level;
}

// Writes the bits of `count` levels, with zeros behind them, up to whole bytes.
template <CodeType type>
METALFAISS_INLINE void pack_levels(const uint8_t* levels, int64_t count, uint8_t* code) {
  if constexpr (type == CodeType::sq8) {
    __builtin_memcpy(code, levels, count);
  } else if constexpr (type == CodeType::sq4) {
    for (int64_t i = 0; i < ceil_div(count, 2); i++) {
      code[i] = static_cast<uint8_t>(levels[2 * i] | levels[2 * i + 1] << 4);
    }
  } else {
    for (int64_t p = 0; p < count; p += 8, code += 6) {
      auto eight = load_as<uint64_t>(levels + p);
      eight = (eight & 0x003f003f003f003f) | (eight & 0x3f003f003f003f00) >> 2;
      eight = (eight & 0x00000fff00000fff) | (eight & 0x0fff00000fff0000) >> 4;
      eight = (eight & 0x0000000000ffffff) | (eight & 0x00ffffff00000000) >> 8;
      if (count - p >= 8) {
        __builtin_memcpy(code, &eight, 6);
      } else {
        __builtin_memcpy(code, &eight, ceil_div(6 * (count - p), 8));
      }
    }
  }
}

template <CodeType type>
void encode_scaled(const RowCodec& codec, const float* x, uint8_t* code) {
  uint8_t levels[kBlock];
  for (int64_t first = 0; first < codec.d; first += kBlock, code += kBlock * bits_of(type) / 8) {
    int64_t count = at_most(kBlock, codec.d - first);
    for (int64_t p = 0; p < count; p += W) {
      auto part = [&](const float* from) {
        return count - p < W ? load_first(from + first + p, static_cast<int>(count - p)) : load(from + first + p);
      };
      store_bytes(levels + p, levels_of<type>(part(x), part(codec.vmin), part(codec.vdiff)));
    }
    pack_levels<type>(levels, count, code);
  }
}

// Ties away from zero, as FAISS does: half of the last place is added to the magnitude, which is then cut off.
METALFAISS_INLINE vi halves_of(vf x) {
  vu a = (vu)x & 0x7fffffffu, sign = ((vu)x >> 16) & 0x8000u;
  vu normal = (a + 0x1000u - (112u << 23)) >> 13;
  vf places = (vf)a * 0x1p24f;  // of a number that is not normal: exact
  vi whole = __builtin_convertvector(places, vi);
  whole -= places - __builtin_convertvector(whole, vf) >= 0.5f;
  auto choose = [](auto mask, vu yes, vu no) { return ((vu)mask & yes) | (~(vu)mask & no); };
  vu half = choose(a < (113u << 23), (vu)whole, normal);
  half = choose(a >= 0x47800000u - 0x1000u, vu{} + 0x7c00u, half);
  return (vi)(sign | choose(a > 0x7f800000u, vu{} + 0x7e00u, half));
}

void encode_halves_away_from_zero(const float* x, int64_t d, uint8_t* code) {
  for (int64_t p = 0; p < d; p += W) {
    uint16_t halves[W];
    store_words(halves, halves_of(d - p < W ? load_first(x + p, static_cast<int>(d - p)) : load(x + p)));
    __builtin_memcpy(code + 2 * p, halves, 2 * at_most(W, d - p));
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
    Arena arena(Scratch::tile, Arena::padded<float>(d));
    auto* residual = arena.take<float>(d);
    for (int64_t i = task * step; i < at_most(args.n, (task + 1) * step); i++) {
      const float* x = args.x + i * d;
      if (args.lists) {
        const float* centroid = args.centroids + at_least(args.lists[i], 0) * d;
        for (int64_t p = 0; p < d; p++) {
          residual[p] = x[p] - centroid[p];
        }
        x = residual;
      }
      encode_row(args.codec, x, args.codes + i * size);
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
