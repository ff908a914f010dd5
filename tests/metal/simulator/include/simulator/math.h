// MSL's functions of numbers. Two arguments must have one type, as MSL's overloads demand.
#pragma once

#include "simulator/types.h"

namespace metal {

template <typename T>
constexpr bool sim_is_float = __is_same(T, float) || __is_same(T, half) || __is_same(T, bfloat);
template <typename T>
constexpr bool sim_is_unsigned = !sim_is_float<T> && static_cast<T>(-1) > static_cast<T>(0);

// One element at a time, in float: its rounding to half or bfloat is then that of one operation.
template <typename T, typename F>
SIM_INLINE T sim_each(T x, F f) {
  if constexpr (sim_vector<T>::size == 1) {
    return static_cast<T>(f(static_cast<float>(x)));
  } else {
    T out{};
    for (int i = 0; i < sim_vector<T>::size; i++) {
      out[i] = static_cast<typename sim_vector<T>::element>(f(static_cast<float>(x[i])));
    }
    return out;
  }
}

template <typename T, typename F>
SIM_INLINE T sim_pairs(T x, T y, F f) {
  if constexpr (sim_vector<T>::size == 1) {
    return static_cast<T>(f(x, y));
  } else {
    T out{};
    for (int i = 0; i < sim_vector<T>::size; i++) {
      out[i] = static_cast<typename sim_vector<T>::element>(f(x[i], y[i]));
    }
    return out;
  }
}

#define SIM_OF_FLOAT(NAME, BUILTIN)                                                     \
  template <typename T>                                                                 \
  SIM_INLINE T NAME(T x) {                                                              \
    static_assert(sim_is_float<typename sim_vector<T>::element>);                       \
    return sim_each(x, [](float v) __attribute__((always_inline)) { return BUILTIN; }); \
  }
SIM_OF_FLOAT(sqrt, __builtin_sqrtf(v))
SIM_OF_FLOAT(rsqrt, 1.0f / __builtin_sqrtf(v))
SIM_OF_FLOAT(fabs, __builtin_fabsf(v))
SIM_OF_FLOAT(floor, __builtin_floorf(v))
SIM_OF_FLOAT(ceil, __builtin_ceilf(v))
SIM_OF_FLOAT(trunc, __builtin_truncf(v))
SIM_OF_FLOAT(round, __builtin_roundf(v))
SIM_OF_FLOAT(rint, __builtin_rintf(v))
SIM_OF_FLOAT(exp, __builtin_expf(v))
SIM_OF_FLOAT(exp2, __builtin_exp2f(v))
SIM_OF_FLOAT(log, __builtin_logf(v))
SIM_OF_FLOAT(log2, __builtin_log2f(v))
SIM_OF_FLOAT(log10, __builtin_log10f(v))
SIM_OF_FLOAT(sin, __builtin_sinf(v))
SIM_OF_FLOAT(cos, __builtin_cosf(v))
SIM_OF_FLOAT(tan, __builtin_tanf(v))
SIM_OF_FLOAT(acos, __builtin_acosf(v))
SIM_OF_FLOAT(asin, __builtin_asinf(v))
SIM_OF_FLOAT(atan, __builtin_atanf(v))
SIM_OF_FLOAT(tanh, __builtin_tanhf(v))
SIM_OF_FLOAT(sign, v > 0 ? 1.0f : v < 0 ? -1.0f : v == 0 ? v : 0.0f)

#define SIM_OF_FLOATS(NAME, BUILTIN)                                                                 \
  template <typename T>                                                                              \
  SIM_INLINE T NAME(T x, T y) {                                                                      \
    static_assert(sim_is_float<typename sim_vector<T>::element>);                                    \
    return sim_pairs(x, y, [](float a, float b) __attribute__((always_inline)) { return BUILTIN; }); \
  }
SIM_OF_FLOATS(fmin, __builtin_fminf(a, b))
SIM_OF_FLOATS(fmax, __builtin_fmaxf(a, b))
SIM_OF_FLOATS(pow, __builtin_powf(a, b))
SIM_OF_FLOATS(powr, __builtin_powf(a, b))
SIM_OF_FLOATS(fmod, __builtin_fmodf(a, b))
SIM_OF_FLOATS(atan2, __builtin_atan2f(a, b))
SIM_OF_FLOATS(copysign, __builtin_copysignf(a, b))
SIM_OF_FLOATS(hypot, __builtin_hypotf(a, b))

template <typename T>
SIM_INLINE T min(T x, T y) {
  if constexpr (sim_is_float<typename sim_vector<T>::element>) {
    return fmin(x, y);
  } else {
    return sim_pairs(x, y, [](auto a, auto b) __attribute__((always_inline)) { return b < a ? b : a; });
  }
}

template <typename T>
SIM_INLINE T max(T x, T y) {
  if constexpr (sim_is_float<typename sim_vector<T>::element>) {
    return fmax(x, y);
  } else {
    return sim_pairs(x, y, [](auto a, auto b) __attribute__((always_inline)) { return a < b ? b : a; });
  }
}

template <typename T>
SIM_INLINE T min3(T x, T y, T z) {
  return min(x, min(y, z));
}

template <typename T>
SIM_INLINE T max3(T x, T y, T z) {
  return max(x, max(y, z));
}

template <typename T>
SIM_INLINE T clamp(T x, T low, T high) {
  return min(max(x, low), high);
}

template <typename T>
SIM_INLINE T saturate(T x) {
  return clamp(x, static_cast<T>(0), static_cast<T>(1));
}

template <typename T>
SIM_INLINE T abs(T x) {
  using E = typename sim_vector<T>::element;
  if constexpr (sim_is_float<E>) {
    return fabs(x);
  } else if constexpr (sim_is_unsigned<E>) {
    return x;
  } else {
    return __builtin_elementwise_abs(x);
  }
}

template <typename T>
SIM_INLINE T fma(T x, T y, T z) {
  if constexpr (sim_vector<T>::size == 1) {
    return static_cast<T>(__builtin_fmaf(x, y, z));
  } else {
    T out{};
    for (int i = 0; i < sim_vector<T>::size; i++) {
      out[i] = static_cast<typename sim_vector<T>::element>(__builtin_fmaf(x[i], y[i], z[i]));
    }
    return out;
  }
}

template <typename T>
SIM_INLINE T mix(T x, T y, T a) {
  return x + (y - x) * a;
}

template <typename T>
SIM_INLINE typename sim_vector<T>::element dot(T x, T y) {
  auto sum = x[0] * y[0];
  for (int i = 1; i < sim_vector<T>::size; i++) {
    sum = sum + x[i] * y[i];
  }
  return sum;
}

template <typename T>
SIM_INLINE typename sim_vector<T>::element length_squared(T x) {
  return dot(x, x);
}

template <typename T>
SIM_INLINE typename sim_vector<T>::element length(T x) {
  return sqrt(dot(x, x));
}

template <typename T>
SIM_INLINE typename sim_vector<T>::element distance_squared(T x, T y) {
  return length_squared(x - y);
}

template <typename T>
SIM_INLINE typename sim_vector<T>::element distance(T x, T y) {
  return length(x - y);
}

#define SIM_TEST(NAME, EXPRESSION)                                        \
  SIM_INLINE bool NAME(float v) {                                         \
    return EXPRESSION;                                                    \
  }                                                                       \
  SIM_INLINE bool NAME(half v) {                                          \
    return NAME(static_cast<float>(v));                                   \
  }                                                                       \
  SIM_INLINE bool NAME(bfloat v) {                                        \
    return NAME(static_cast<float>(v));                                   \
  }                                                                       \
  template <typename T>                                                   \
    requires(sim_vector<T>::size > 1)                                     \
  SIM_INLINE auto NAME(T v) {                                             \
    typedef bool B __attribute__((ext_vector_type(sim_vector<T>::size))); \
    B out{};                                                              \
    for (int i = 0; i < sim_vector<T>::size; i++) {                       \
      out[i] = NAME(v[i]);                                                \
    }                                                                     \
    return out;                                                           \
  }
SIM_TEST(isnan, __builtin_isnan(v))
SIM_TEST(isinf, __builtin_isinf(v))
SIM_TEST(isfinite, __builtin_isfinite(v))
SIM_TEST(signbit, __builtin_signbit(v))

template <typename T>
SIM_INLINE bool any(T x) {
  bool found = false;
  for (int i = 0; i < sim_vector<T>::size; i++) {
    found |= x[i] != 0;
  }
  return found;
}

template <typename T>
SIM_INLINE bool all(T x) {
  bool found = true;
  for (int i = 0; i < sim_vector<T>::size; i++) {
    found &= x[i] != 0;
  }
  return found;
}

SIM_INLINE bool any(bool x) {
  return x;
}

SIM_INLINE bool all(bool x) {
  return x;
}

// b where the condition holds.
template <typename T, typename C>
SIM_INLINE T select(T a, T b, C condition) {
  if constexpr (sim_vector<C>::size == 1) {
    return condition ? b : a;
  } else {
    T out{};
    for (int i = 0; i < sim_vector<T>::size; i++) {
      out[i] = condition[i] ? b[i] : a[i];
    }
    return out;
  }
}

#define SIM_OF_BITS(NAME, EXPRESSION)                                        \
  template <typename T>                                                      \
  SIM_INLINE T NAME(T x) {                                                   \
    constexpr int bits = sizeof(typename sim_vector<T>::element) * 8;        \
    return sim_pairs(x, x, [](auto e, auto) __attribute__((always_inline)) { \
      sim_u64 v = static_cast<sim_u64>(e) & (~0ull >> (64 - bits));          \
      return static_cast<int>(EXPRESSION);                                   \
    });                                                                      \
  }
SIM_OF_BITS(popcount, __builtin_popcountll(v))
SIM_OF_BITS(clz, v ? __builtin_clzll(v) - (64 - bits) : bits)
SIM_OF_BITS(ctz, v ? __builtin_ctzll(v) : bits)

template <typename T>
SIM_INLINE T reverse_bits(T x) {
  constexpr int bits = sizeof(T) * 8;
  return static_cast<T>(__builtin_bitreverse64(static_cast<sim_u64>(x)) >> (64 - bits));
}

template <typename T>
SIM_INLINE T mulhi(T x, T y) {
  constexpr int bits = sizeof(T) * 8;
  return static_cast<T>((static_cast<__int128>(x) * static_cast<__int128>(y)) >> bits);
}

namespace precise = metal;

}  // namespace metal
