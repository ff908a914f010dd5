// The words of Metal Shading Language with their CUDA meaning: what metal/tools/cuda.py puts in front of a translated
// kernel. For NVRTC and nvcc, sm_80 and later; needs no other header. Everything is in namespace metal, where the
// kernels go too: CUDA's own float4, uint3, min, ... stay outside.
#pragma once

#define MSL_FN __device__ __forceinline__

namespace metal {

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef unsigned long size_t;
typedef signed char int8_t;
typedef uchar uint8_t;
typedef short int16_t;
typedef ushort uint16_t;
typedef int int32_t;
typedef uint uint32_t;
typedef long int64_t;
typedef ulong uint64_t;

static_assert(sizeof(long) == 8, "Metal's long has 64 bits");

#define __METAL_VERSION__ 320

template <typename T>
struct numeric_limits {  // of integers
  static constexpr bool kSigned = T(-1) < T(0);
  static constexpr __device__ T max() { return T(~T(0)) ^ min(); }
  static constexpr __device__ T min() { return kSigned ? T(T(1) << (8 * sizeof(T) - 1)) : T(0); }
  static constexpr __device__ T lowest() { return min(); }
};
template <>
struct numeric_limits<float> {
  static constexpr __device__ float max() { return 3.402823466e38f; }
  static constexpr __device__ float min() { return 1.175494351e-38f; }
  static constexpr __device__ float lowest() { return -max(); }
  static constexpr __device__ float epsilon() { return 1.192092896e-07f; }
  static __device__ float infinity() { return __int_as_float(0x7f800000); }
  static __device__ float quiet_NaN() { return __int_as_float(0x7fc00000); }
};

// --------------------------------------------------------------------------------------------------- 16-bit floats
// Arithmetic is in float32: with one operation between roundings the result is that of 16-bit arithmetic.

#define MSL_ASSIGNMENTS(type)              \
  MSL_FN type& operator+=(float x) {       \
    return *this = type(float(*this) + x); \
  }                                        \
  MSL_FN type& operator-=(float x) {       \
    return *this = type(float(*this) - x); \
  }                                        \
  MSL_FN type& operator*=(float x) {       \
    return *this = type(float(*this) * x); \
  }                                        \
  MSL_FN type& operator/=(float x) {       \
    return *this = type(float(*this) / x); \
  }

struct half {
  ushort bits;
  half() = default;
  MSL_FN half(float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x)); }
  MSL_FN operator float() const {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
  }
  MSL_ASSIGNMENTS(half)
};

struct bfloat {
  ushort bits;
  bfloat() = default;
  MSL_FN bfloat(float x) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x)); }
  MSL_FN operator float() const { return __uint_as_float(uint(bits) << 16); }
  MSL_ASSIGNMENTS(bfloat)
};

// --------------------------------------------------------------------------------------------------- vectors

template <typename T, int N>
struct vec;

#define MSL_BINARY(op)                                        \
  friend MSL_FN vec operator op(const vec& a, const vec& b) { \
    vec r;                                                    \
    _Pragma("unroll") for (int i = 0; i < kSize; i++) {       \
      r[i] = a[i] op b[i];                                    \
    }                                                         \
    return r;                                                 \
  }                                                           \
  MSL_FN vec& operator op##=(const vec & b) {                 \
    return *this = *this op b;                                \
  }

#define MSL_COMPARISON(op)                                                   \
  friend MSL_FN vec<bool, kSize> operator op(const vec & a, const vec & b) { \
    vec<bool, kSize> r;                                                      \
    _Pragma("unroll") for (int i = 0; i < kSize; i++) {                      \
      r[i] = a[i] op b[i];                                                   \
    }                                                                        \
    return r;                                                                \
  }

// clang-format off: it would add to the indentation each time
#define MSL_MEMBERS(n) \
  static constexpr int kSize = n; \
  vec() = default; \
  template <typename U> \
  explicit MSL_FN vec(const vec<U, n>& v) { \
    _Pragma("unroll") for (int i = 0; i < n; i++) { \
      (*this)[i] = T(v[i]); \
    } \
  } \
  template <typename A, typename B, typename... More> \
  MSL_FN vec(const A& a, const B& b, const More&... more) { \
    int i = 0; \
    append(i, a); \
    append(i, b); \
    (append(i, more), ...); \
  } \
  template <typename U> \
  MSL_FN void append(int& i, const U& value) { \
    (*this)[i++] = T(value); \
  } \
  template <typename U, int N> \
  MSL_FN void append(int& i, const vec<U, N>& v) { \
    for (int j = 0; j < N; j++) { \
      (*this)[i++] = T(v[j]); \
    } \
  } \
  template <int... I> \
  MSL_FN vec<T, sizeof...(I)> swizzle() const { \
    return vec<T, sizeof...(I)>((*this)[I]...); \
  } \
  MSL_FN T& operator[](int i) { \
    return (&x)[i]; \
  } \
  MSL_FN const T& operator[](int i) const { \
    return (&x)[i]; \
  } \
  MSL_FN vec operator-() const { \
    return vec(T(0)) - *this; \
  } \
  MSL_BINARY(+) MSL_BINARY(-) MSL_BINARY(*) MSL_BINARY(/) MSL_BINARY(&) MSL_BINARY(|) MSL_BINARY(^) \
  MSL_COMPARISON(<) MSL_COMPARISON(<=) MSL_COMPARISON(>) MSL_COMPARISON(>=) \
  MSL_COMPARISON(==) MSL_COMPARISON(!=) MSL_COMPARISON(&&) MSL_COMPARISON(||)
// clang-format on

template <typename T>
struct alignas(2 * sizeof(T)) vec<T, 2> {
  T x, y;
  constexpr MSL_FN vec(T s) : x(s), y(s) {}
  constexpr MSL_FN vec(T x, T y) : x(x), y(y) {}
  MSL_MEMBERS(2)
};

template <typename T>
struct alignas(4 * sizeof(T)) vec<T, 3> {
  T x, y, z;
  constexpr MSL_FN vec(T s) : x(s), y(s), z(s) {}
  constexpr MSL_FN vec(T x, T y, T z) : x(x), y(y), z(z) {}
  MSL_MEMBERS(3)
};

template <typename T>
struct alignas(4 * sizeof(T)) vec<T, 4> {
  T x, y, z, w;
  constexpr MSL_FN vec(T s) : x(s), y(s), z(s), w(s) {}
  constexpr MSL_FN vec(T x, T y, T z, T w) : x(x), y(y), z(z), w(w) {}
  MSL_MEMBERS(4)
};

#define MSL_VECTORS(type)       \
  typedef vec<type, 2> type##2; \
  typedef vec<type, 3> type##3; \
  typedef vec<type, 4> type##4;
MSL_VECTORS(bool)
MSL_VECTORS(char)
MSL_VECTORS(uchar)
MSL_VECTORS(short)
MSL_VECTORS(ushort)
MSL_VECTORS(int)
MSL_VECTORS(uint)
MSL_VECTORS(long)
MSL_VECTORS(ulong)
MSL_VECTORS(half)
MSL_VECTORS(bfloat)
MSL_VECTORS(float)

template <typename T, int N>
MSL_FN bool all(const vec<T, N>& v) {
  bool r = true;
  for (int i = 0; i < N; i++) {
    r = r && v[i];
  }
  return r;
}

template <typename T, int N>
MSL_FN bool any(const vec<T, N>& v) {
  bool r = false;
  for (int i = 0; i < N; i++) {
    r = r || v[i];
  }
  return r;
}

template <typename T, int N>
MSL_FN T dot(const vec<T, N>& a, const vec<T, N>& b) {
  T r = a[0] * b[0];
  for (int i = 1; i < N; i++) {
    r += a[i] * b[i];
  }
  return r;
}

template <typename To, typename From>
MSL_FN To as_type(const From& x) {
  static_assert(sizeof(To) == sizeof(From), "as_type needs types of one size");
  To r;
  memcpy(&r, &x, sizeof(To));
  return r;
}

// --------------------------------------------------------------------------------------------------- mathematics

#define MSL_ELEMENTWISE_1(name)                     \
  template <typename T, int N>                      \
  MSL_FN vec<T, N> name(const vec<T, N>& a) {       \
    vec<T, N> r;                                    \
    _Pragma("unroll") for (int i = 0; i < N; i++) { \
      r[i] = name(a[i]);                            \
    }                                               \
    return r;                                       \
  }
#define MSL_FLOAT_1(name, function) \
  MSL_FN float name(float x) {      \
    return function(x);             \
  }                                 \
  MSL_ELEMENTWISE_1(name)
MSL_FLOAT_1(sqrt, ::sqrtf)
MSL_FLOAT_1(rsqrt, ::rsqrtf)
MSL_FLOAT_1(exp, ::expf)
MSL_FLOAT_1(exp2, ::exp2f)
MSL_FLOAT_1(log, ::logf)
MSL_FLOAT_1(log2, ::log2f)
MSL_FLOAT_1(sin, ::sinf)
MSL_FLOAT_1(cos, ::cosf)
MSL_FLOAT_1(floor, ::floorf)
MSL_FLOAT_1(ceil, ::ceilf)
MSL_FLOAT_1(trunc, ::truncf)
MSL_FLOAT_1(rint, ::rintf)
MSL_FLOAT_1(round, ::roundf)
MSL_FLOAT_1(fabs, ::fabsf)

MSL_FN float pow(float x, float y) {
  return ::powf(x, y);
}
MSL_FN float ldexp(float x, int n) {
  return ::ldexpf(x, n);
}
MSL_FN float copysign(float x, float y) {
  return ::copysignf(x, y);
}
MSL_FN float sign(float x) {
  return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x == 0.0f ? x : 0.0f;
}
MSL_FN float fma(float a, float b, float c) {
  return __fmaf_rn(a, b, c);
}
template <int N>
MSL_FN vec<float, N> fma(const vec<float, N>& a, const vec<float, N>& b, const vec<float, N>& c) {
  vec<float, N> r;
#pragma unroll
  for (int i = 0; i < N; i++) {
    r[i] = __fmaf_rn(a[i], b[i], c[i]);
  }
  return r;
}

// As Metal's: the other operand where one is NaN.
template <typename T>
MSL_FN T min(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
MSL_FN T max(T a, T b) {
  return a < b ? b : a;
}
MSL_FN float min(float a, float b) {
  return ::fminf(a, b);
}
MSL_FN float max(float a, float b) {
  return ::fmaxf(a, b);
}
template <typename T, int N>
MSL_FN vec<T, N> min(const vec<T, N>& a, const vec<T, N>& b) {
  vec<T, N> r;
#pragma unroll
  for (int i = 0; i < N; i++) {
    r[i] = min(a[i], b[i]);
  }
  return r;
}
template <typename T, int N>
MSL_FN vec<T, N> max(const vec<T, N>& a, const vec<T, N>& b) {
  vec<T, N> r;
#pragma unroll
  for (int i = 0; i < N; i++) {
    r[i] = max(a[i], b[i]);
  }
  return r;
}
MSL_FN float fmin(float a, float b) {
  return ::fminf(a, b);
}
MSL_FN float fmax(float a, float b) {
  return ::fmaxf(a, b);
}
template <typename T>
MSL_FN T clamp(T x, T low, T high) {
  return min(max(x, low), high);
}

MSL_FN float abs(float x) {
  return ::fabsf(x);
}
MSL_FN half abs(half x) {
  x.bits &= 0x7fff;
  return x;
}
MSL_FN bfloat abs(bfloat x) {
  x.bits &= 0x7fff;
  return x;
}
MSL_FN int abs(int x) {
  return x < 0 ? -x : x;
}
MSL_FN long abs(long x) {
  return x < 0 ? -x : x;
}
MSL_ELEMENTWISE_1(abs)

MSL_FN bool isnan(float x) {
  return (__float_as_uint(x) & 0x7fffffffu) > 0x7f800000u;
}
MSL_FN bool isinf(float x) {
  return (__float_as_uint(x) & 0x7fffffffu) == 0x7f800000u;
}
MSL_FN bool isfinite(float x) {
  return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u;
}
MSL_FN bool signbit(float x) {
  return __float_as_uint(x) >> 31;
}

template <typename T>
MSL_FN T select(T otherwise, T chosen, bool condition) {
  return condition ? chosen : otherwise;
}
template <typename T, int N>
MSL_FN vec<T, N> select(const vec<T, N>& otherwise, const vec<T, N>& chosen, const vec<bool, N>& condition) {
  vec<T, N> r;
#pragma unroll
  for (int i = 0; i < N; i++) {
    r[i] = condition[i] ? chosen[i] : otherwise[i];
  }
  return r;
}

// Counting bits. Of zero, clz and ctz are the width, as in Metal.
MSL_FN int popcount(int x) {
  return __popc(x);
}
MSL_FN uint popcount(uint x) {
  return __popc(x);
}
MSL_FN ulong popcount(ulong x) {
  return __popcll(x);
}
MSL_FN int clz(int x) {
  return __clz(x);
}
MSL_FN uint clz(uint x) {
  return __clz(int(x));
}
MSL_FN ulong clz(ulong x) {
  return __clzll(long(x));
}
MSL_FN int ctz(int x) {
  return x ? __ffs(x) - 1 : 32;
}
MSL_FN uint ctz(uint x) {
  return x ? __ffs(int(x)) - 1 : 32;
}
MSL_FN ulong ctz(ulong x) {
  return x ? __ffsll(long(x)) - 1 : 64;
}
MSL_FN uint reverse_bits(uint x) {
  return __brev(x);
}
MSL_FN uint mulhi(uint a, uint b) {
  return __umulhi(a, b);
}
MSL_FN int mulhi(int a, int b) {
  return __mulhi(a, b);
}
MSL_FN ulong mulhi(ulong a, ulong b) {
  return __umul64hi(a, b);
}

namespace precise {
using metal::cos;
using metal::exp;
using metal::exp2;
using metal::log;
using metal::log2;
using metal::rsqrt;
using metal::sin;
using metal::sqrt;
}  // namespace precise

}  // namespace metal
