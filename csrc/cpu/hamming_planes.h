// Hamming distances of many queries to a block of codes, from tables of 16 in registers.
//
// The block is transposed: byte b of all its codes lies together. On x86 its two halves of 4 bits are kept apart, each
// an index into the table of the query's 4 bits, so that 32 codes of AVX2 cost one shuffle and one addition for every
// 4 bits: 128 instructions for 256 bits, where counting the ones of four words costs 384. NEON counts bytes itself.
#pragma once

#include "cpu/hamming.h"
#include "cpu/hamming_nearest.h"
#include "cpu/simd.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

inline constexpr int kBytes = 4 * W;  // of a vector
typedef uint8_t vb __attribute__((vector_size(4 * W)));
typedef uint8_t vb_half __attribute__((vector_size(2 * W)));  // as many lanes as a vh
typedef uint8_t vb16 __attribute__((vector_size(16)));

#if defined(__AVX2__) || defined(__aarch64__)
inline constexpr bool kHasPlanes = true;
#else
inline constexpr bool kHasPlanes = false;  // SSE2 has no shuffle by a register
#endif

inline constexpr int kVectors = 8;                         // sums in registers
inline constexpr int64_t kPlaneBlock = kVectors * kBytes;  // codes
inline constexpr int64_t kPlaneCodeSize = 8191;            // larger codes have distances beyond 16 bits
inline constexpr int64_t kPartBytes = 31;                  // of a code: a sum of 8 bits holds 31 x 8 ones
#if defined(__aarch64__)
inline constexpr int kPlanesPerByte = 1;
#else
inline constexpr int kPlanesPerByte = 2;
#endif

METALFAISS_INLINE constexpr int64_t plane_bytes(int64_t code_size) {
  return code_size * kPlanesPerByte * kPlaneBlock;
}

// 16 x 16 bytes in place: four perfect shuffles of the rows.
METALFAISS_INLINE void transpose_16x16(vb16* rows) {
  for (int stage = 0; stage < 4; stage++) {
    vb16 to[16];
    for (int i = 0; i < 8; i++) {
      to[2 * i] = __builtin_shufflevector(rows[i], rows[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      to[2 * i + 1] =
          __builtin_shufflevector(rows[i], rows[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
    for (int i = 0; i < 16; i++) {
      rows[i] = to[i];
    }
  }
}

// Byte b of 16 codes, which are column `column` and on of the block.
METALFAISS_INLINE void store_plane(uint8_t* planes, int64_t b, int64_t column, vb16 bytes) {
#if defined(__aarch64__)
  __builtin_memcpy(planes + b * kPlaneBlock + column, &bytes, sizeof bytes);
#else
  vb16 low = bytes & 15, high = bytes >> 4;
  __builtin_memcpy(planes + 2 * b * kPlaneBlock + column, &low, sizeof low);
  __builtin_memcpy(planes + (2 * b + 1) * kPlaneBlock + column, &high, sizeof high);
#endif
}

// Transposes the n <= kPlaneBlock codes of rows `begin` and on; the rest of the block repeats the last one.
inline void fill_planes(const HammingArgs& g, int64_t begin, int64_t n, uint8_t* planes) {
  for (int64_t column = 0; column < kPlaneBlock; column += 16) {
    const uint8_t* code[16];
    for (int64_t i = 0; i < 16; i++) {
      int64_t row = begin + (column + i < n ? column + i : n - 1);
      code[i] = g.codes + (g.rows ? g.rows[row] : row) * g.code_size;
    }
    for (int64_t b = 0; b < g.code_size; b += 16) {
      int64_t bytes = g.code_size - b < 16 ? g.code_size - b : 16;
      vb16 rows[16] = {};
      for (int i = 0; i < 16; i++) {
        if (bytes == 16) {
          __builtin_memcpy(&rows[i], code[i] + b, 16);
        } else {
          __builtin_memcpy(&rows[i], code[i] + b, bytes);
        }
      }
      transpose_16x16(rows);
      for (int64_t j = 0; j < bytes; j++) {
        store_plane(planes, b + j, column, rows[j]);
      }
    }
  }
}

#if defined(__AVX2__)
// tables.of[q][i]: the ones of q ^ i.
struct OnesTables {
  alignas(16) uint8_t of[16][16];
};

constexpr OnesTables ones_tables() {
  OnesTables t{};
  for (int q = 0; q < 16; q++) {
    for (int i = 0; i < 16; i++) {
      int x = q ^ i;
      t.of[q][i] = static_cast<uint8_t>((x & 1) + (x >> 1 & 1) + (x >> 2 & 1) + (x >> 3 & 1));
    }
  }
  return t;
}

inline constexpr OnesTables kOnes = ones_tables();

METALFAISS_INLINE vb load_table(int q) {
  auto t = _mm_load_si128(reinterpret_cast<const __m128i*>(kOnes.of[q]));
#if defined(__AVX512F__)
  return (vb)_mm512_broadcast_i32x4(t);
#else
  return (vb)_mm256_broadcastsi128_si256(t);
#endif
}

METALFAISS_INLINE vb look_up(vb table, vb index) {
#if defined(__AVX512F__)
  return (vb)_mm512_shuffle_epi8((__m512i)table, (__m512i)index);
#else
  return (vb)_mm256_shuffle_epi8((__m256i)table, (__m256i)index);
#endif
}
#endif

// Adds the ones of byte `b` of query and codes, which differ by at most 8, to the sums.
METALFAISS_INLINE void add_byte(const uint8_t* planes, int64_t b, uint8_t query, vb* sums) {
  const uint8_t* plane = planes + b * kPlanesPerByte * kPlaneBlock;
#if defined(__AVX2__)
  const vb low = load_table(query & 15), high = load_table(query >> 4);
  for (int v = 0; v < kVectors; v++) {
    sums[v] += look_up(low, load_as<vb>(plane + v * kBytes));
  }
  for (int v = 0; v < kVectors; v++) {
    sums[v] += look_up(high, load_as<vb>(plane + kPlaneBlock + v * kBytes));
  }
#elif defined(__aarch64__)
  const vb q = vb{} + query;
  for (int v = 0; v < kVectors; v++) {
    sums[v] += (vb)vcntq_u8((uint8x16_t)(q ^ load_as<vb>(plane + v * kBytes)));
  }
#else
  (void)plane, (void)query, (void)sums;
#endif
}

// Distances of one query to the kPlaneBlock codes of a block.
inline void plane_distances(const uint8_t* planes, const uint8_t* query, int64_t code_size, uint16_t* out) {
  for (int64_t begin = 0; begin < code_size; begin += kPartBytes) {
    int64_t end = begin + kPartBytes < code_size ? begin + kPartBytes : code_size;
    vb sums[kVectors] = {};
    for (int64_t b = begin; b < end; b++) {
      add_byte(planes, b, query[b], sums);
    }
    alignas(64) uint8_t part[kPlaneBlock];
    __builtin_memcpy(part, sums, sizeof part);
    for (int i = 0; i < kPlaneBlock; i += 2 * W) {
      vh wide = __builtin_convertvector(load_as<vb_half>(part + i), vh);
      if (begin) {
        wide += load_as<vh>(out + i);
      }
      __builtin_memcpy(out + i, &wide, sizeof wide);
    }
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
