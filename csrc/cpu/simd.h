// One vector type per SIMD level, on the compilers' vector extensions: arithmetic, comparisons and shuffles are the
// compiler's, only what it cannot express is written with intrinsics.
//
// Everything here and in a kernel file lives in the level's namespace. A kernel file includes no header that defines
// inline functions other than this one: code compiled for a wide level under a shared name could be picked by the
// linker for a narrow machine (tests/test_simd_objects.py looks at the object files).
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if !defined(METALFAISS_SIMD_LEVEL)
#error "compile kernel files with -DMETALFAISS_SIMD_LEVEL=<level>"
#endif

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

#if defined(__AVX512F__)
inline constexpr int W = 16;  // float32 lanes of a vector
inline constexpr int kVectorRegisters = 32;
#elif defined(__AVX2__)
inline constexpr int W = 8;
inline constexpr int kVectorRegisters = 16;
#elif defined(__aarch64__)
inline constexpr int W = 4;
inline constexpr int kVectorRegisters = 32;
#else
inline constexpr int W = 4;
inline constexpr int kVectorRegisters = 16;
#endif
inline constexpr int WD = W / 2;  // float64 lanes

typedef float vf __attribute__((vector_size(4 * W)));
typedef int32_t vi __attribute__((vector_size(4 * W)));  // also the result of comparing two vf: 0 or -1 a lane
typedef uint32_t vu __attribute__((vector_size(4 * W)));
typedef double vd __attribute__((vector_size(8 * WD)));
typedef float vf_half __attribute__((vector_size(4 * WD)));  // as many lanes as a vd
typedef uint16_t vu16 __attribute__((vector_size(2 * W)));
typedef int16_t vi16 __attribute__((vector_size(2 * W)));

#define METALFAISS_INLINE inline __attribute__((always_inline))

template <typename V, typename T>
METALFAISS_INLINE V load_as(const T* p) {  // unaligned
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
METALFAISS_INLINE vf load(const float* p) {
  return load_as<vf>(p);
}
METALFAISS_INLINE vd load(const double* p) {
  return load_as<vd>(p);
}
METALFAISS_INLINE void store(float* p, vf v) {
  __builtin_memcpy(p, &v, sizeof v);
}
METALFAISS_INLINE void store(double* p, vd v) {
  __builtin_memcpy(p, &v, sizeof v);
}
METALFAISS_INLINE vf broadcast(float x) {
  return x - vf{};
}
METALFAISS_INLINE vd broadcast(double x) {
  return x - vd{};
}
METALFAISS_INLINE vd to_double(vf_half v) {
  return __builtin_convertvector(v, vd);
}
METALFAISS_INLINE vd load_double(const float* p) {
  return to_double(load_as<vf_half>(p));
}

// a * b + c, contracted to one instruction where the level has it.
METALFAISS_INLINE vf fma(vf a, vf b, vf c) {
  return a * b + c;
}
METALFAISS_INLINE vd fma(vd a, vd b, vd c) {
  return a * b + c;
}

METALFAISS_INLINE vf select(vi mask, vf yes, vf no) {
  return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}
METALFAISS_INLINE vf min(vf a, vf b) {
  return select(a < b, a, b);
}
METALFAISS_INLINE vf max(vf a, vf b) {
  return select(a > b, a, b);
}
METALFAISS_INLINE vf abs(vf a) {
  return (vf)((vi)a & 0x7fffffff);
}

// The first n lanes of p, zeros behind them; stores only the first n lanes. Never touches memory behind p[n - 1].
// No calls of memcpy: they would drive the caller's vectors out of their registers.
#if defined(__AVX512F__)
METALFAISS_INLINE vf load_first(const float* p, int n) {
  return (vf)_mm512_maskz_loadu_ps((1u << n) - 1, p);
}
METALFAISS_INLINE void store_first(float* p, vf v, int n) {
  _mm512_mask_storeu_ps(p, (1u << n) - 1, (__m512)v);
}
#elif defined(__AVX2__)
METALFAISS_INLINE __m256i first_lanes(int n) {
  const vi lane = {0, 1, 2, 3, 4, 5, 6, 7};
  return (__m256i)(lane < n);
}
METALFAISS_INLINE vf load_first(const float* p, int n) {
  return (vf)_mm256_maskload_ps(p, first_lanes(n));
}
METALFAISS_INLINE void store_first(float* p, vf v, int n) {
  _mm256_maskstore_ps(p, first_lanes(n), (__m256)v);
}
#else
METALFAISS_INLINE vf load_first(const float* p, int n) {
  vf v{};
  for (int i = 0; i < W; i++) {
    v[i] = i < n ? p[i] : 0.0f;
  }
  return v;
}
METALFAISS_INLINE void store_first(float* p, vf v, int n) {
  for (int i = 0; i < W; i++) {
    if (i < n) {
      p[i] = v[i];
    }
  }
}
#endif

template <typename V>
METALFAISS_INLINE auto sum(V v) {  // pairwise: the error grows with log2 of the lanes
  constexpr int n = sizeof(V) / sizeof(v[0]);
  decltype(v[0] + v[0]) s[n];
  __builtin_memcpy(s, &v, sizeof v);
  for (int half = n / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; i++) {
      s[i] += s[i + half];
    }
  }
  return s[0];
}

// Bit i is set where lane i of a comparison is true.
METALFAISS_INLINE uint32_t bits(vi mask) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask((__m512i)mask);
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)mask);
#elif defined(__x86_64__)
  return _mm_movemask_ps((__m128)mask);
#elif defined(__aarch64__)
  const vi weight = {1, 2, 4, 8};
  return vaddvq_u32((uint32x4_t)(mask & weight));
#else
  uint32_t b = 0;
  for (int i = 0; i < W; i++) {
    b |= static_cast<uint32_t>(mask[i] & 1) << i;
  }
  return b;
#endif
}

// Storage types of the 16-bit floats: bits only, so that this header needs nothing of MLX.
struct half_t {
  uint16_t bits;
};
struct bfloat_t {
  uint16_t bits;
};

METALFAISS_INLINE vu widen(vu16 v) {
  return __builtin_convertvector(v, vu);
}

METALFAISS_INLINE vf load(const bfloat_t* p) {
  return (vf)(widen(load_as<vu16>(p)) << 16);
}

METALFAISS_INLINE vf load(const half_t* p) {
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_cvtph_ps(0xffff, load_as<__m256i>(p));  // GCC 12 warns of the unmasked one
#elif defined(__AVX2__)
  return (vf)_mm256_cvtph_ps(load_as<__m128i>(p));
#elif defined(__aarch64__)
  return (vf)vcvt_f32_f16(load_as<float16x4_t>(p));
#else
  // Shift exponent and mantissa into place, then multiply by 2^112: exact, subnormals included. Infinities and NaNs
  // keep their mantissa and get the widest exponent.
  vu h = widen(load_as<vu16>(p));
  vu sign = (h & 0x8000u) << 16;
  vu magnitude = (h & 0x7fffu) << 13;
  vu finite = (vu)((vf)magnitude * 0x1p112f);
  vu special = (vu)(magnitude >= (0x7c00u << 13));
  return (vf)(sign | finite | (special & 0x7f800000u));
#endif
}

METALFAISS_INLINE float load_one(const float* p) {
  return *p;
}
template <typename T>  // half_t or bfloat_t
METALFAISS_INLINE float load_one(const T* p) {
  T lanes[W] = {*p};
  return load(lanes)[0];
}

// The first n values of p, zeros behind them.
template <typename T>  // half_t or bfloat_t
METALFAISS_INLINE vf load_first(const T* p, int n) {
  T lanes[W] = {};
  __builtin_memcpy(lanes, p, sizeof(T) * n);
  return load(lanes);
}

// Round to nearest, ties to even; NaN stays NaN.
METALFAISS_INLINE void store(bfloat_t* p, vf v) {
  vu u = (vu)v;
  vu rounded = (u + 0x7fffu + ((u >> 16) & 1)) >> 16;
  vu nan = (u >> 16) | 0x40u;
  vu is_nan = (vu)(v != v);
  vu16 out = __builtin_convertvector((is_nan & nan) | (~is_nan & rounded), vu16);
  __builtin_memcpy(p, &out, sizeof out);
}

METALFAISS_INLINE void store(half_t* p, vf v) {
#if defined(__AVX512F__)
  __m256i out = _mm512_maskz_cvtps_ph(0xffff, (__m512)v, _MM_FROUND_TO_NEAREST_INT);
#elif defined(__AVX2__)
  __m128i out = _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT);
#elif defined(__aarch64__)
  float16x4_t out = vcvt_f16_f32((float32x4_t)v);
#else
  vu u = (vu)v;
  vu sign = (u >> 16) & 0x8000u;
  vu a = u & 0x7fffffffu;
  // Normal results: round the 13 dropped bits in place. Subnormal ones: adding 0.5 aligns the mantissa so that the
  // addition itself rounds.
  vu normal = (a + 0xfffu + ((a >> 13) & 1) - (112u << 23)) >> 13;
  vu subnormal = (vu)((vf)a + 0.5f) - 0x3f000000u;
  vu small = (vu)(a < (113u << 23));
  vu large = (vu)(a >= (143u << 23));
  vu nan = (vu)(a > 0x7f800000u);
  vu h = (small & subnormal) | (~small & normal);
  h = (large & (0x7c00u | (nan & 0x200u))) | (~large & h);
  vu16 out = __builtin_convertvector(sign | h, vu16);
#endif
  __builtin_memcpy(p, &out, sizeof out);
}

template <typename T>  // half_t or bfloat_t
METALFAISS_INLINE void store_first(T* p, vf v, int n) {
  T lanes[W];
  store(lanes, v);
  __builtin_memcpy(p, lanes, sizeof(T) * n);
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
