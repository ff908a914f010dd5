// MSL's types for a host compiler. Nothing of the host's library is included: a kernel compiles in a fraction of a
// second.
#pragma once

#define SIM_INLINE inline __attribute__((always_inline))
// What threads meet in: the compiler must neither copy, merge nor move the calls. Its own accesses are not a kernel's.
#define SIM_SHIM __attribute__((noinline, convergent, nomerge, no_sanitize("thread", "undefined")))
#define SIM_CALLER (reinterpret_cast<sim_u64>(__builtin_return_address(0)) - 1)

using sim_u64 = unsigned long long;

using int8_t = signed char;
using int16_t = short;
using int32_t = int;
using int64_t = __INT64_TYPE__;
using uint8_t = unsigned char;
using uint16_t = unsigned short;
using uint32_t = unsigned int;
using uint64_t = __UINT64_TYPE__;
using size_t = unsigned long;
using ptrdiff_t = long;

using uchar = unsigned char;
using ushort = unsigned short;
using uint = unsigned int;
using ulong = unsigned long;
using half = _Float16;
using bfloat = __bf16;

// A vector of three takes the place of four, as in MSL. Vectors beyond 16 bytes are left out: no kernel needs them and
// the hooks do not see them.
#define SIM_VECTOR(T, N) typedef T T##N __attribute__((ext_vector_type(N)));
#define SIM_VECTORS(T) SIM_VECTOR(T, 2) SIM_VECTOR(T, 3) SIM_VECTOR(T, 4)
SIM_VECTORS(char)
SIM_VECTORS(uchar)
SIM_VECTORS(short)
SIM_VECTORS(ushort)
SIM_VECTORS(int)
SIM_VECTORS(uint)
SIM_VECTORS(half)
SIM_VECTORS(bfloat)
SIM_VECTORS(float)
SIM_VECTORS(bool)
SIM_VECTOR(long, 2)
SIM_VECTOR(ulong, 2)

template <typename T>
struct sim_vector {
  static constexpr int size = 1;
  using element = T;
};

#define SIM_TRAIT(T, N)            \
  template <>                      \
  struct sim_vector<T##N> {        \
    static constexpr int size = N; \
    using element = T;             \
  };
#define SIM_TRAITS(T) SIM_TRAIT(T, 2) SIM_TRAIT(T, 3) SIM_TRAIT(T, 4)
SIM_TRAITS(char)
SIM_TRAITS(uchar)
SIM_TRAITS(short)
SIM_TRAITS(ushort)
SIM_TRAITS(int)
SIM_TRAITS(uint)
SIM_TRAITS(half)
SIM_TRAITS(bfloat)
SIM_TRAITS(float)
SIM_TRAITS(bool)
SIM_TRAIT(long, 2)
SIM_TRAIT(ulong, 2)

template <typename V, typename A>
SIM_INLINE int sim_append(V& v, int at, A a) {
  if constexpr (sim_vector<A>::size == 1) {
    v[at] = static_cast<typename sim_vector<V>::element>(a);
  } else {
    for (int i = 0; i < sim_vector<A>::size; i++) {
      v[at + i] = static_cast<typename sim_vector<V>::element>(a[i]);
    }
  }
  return at + sim_vector<A>::size;
}

// float4(x), float4(x, y, z, w), float4(xyz, w), float4(a half4): what a constructor's name followed by ( becomes.
template <typename V, typename... A>
SIM_INLINE V sim_make(A... a) {
  if constexpr (sizeof...(A) == 0) {
    return V{};
  } else if constexpr (sizeof...(A) == 1 && ((sim_vector<A>::size == 1) && ...)) {
    return (static_cast<V>(static_cast<typename sim_vector<V>::element>(a)), ...);
  } else {
    static_assert((sim_vector<A>::size + ...) == sim_vector<V>::size, "a vector needs as many values as it has");
    V v{};
    int at = 0;
    ((at = sim_append(v, at, a)), ...);
    return v;
  }
}

namespace metal {

template <typename To, typename From>
SIM_INLINE To sim_bits(From x) {
  static_assert(sizeof(To) == sizeof(From), "as_type needs types of one size");
  return __builtin_bit_cast(To, x);
}

template <typename T>
struct numeric_limits;

#define SIM_INTEGER_LIMITS(T, LOW, HIGH) \
  template <>                            \
  struct numeric_limits<T> {             \
    static constexpr T min() {           \
      return static_cast<T>(LOW);        \
    }                                    \
    static constexpr T lowest() {        \
      return static_cast<T>(LOW);        \
    }                                    \
    static constexpr T max() {           \
      return static_cast<T>(HIGH);       \
    }                                    \
  };
SIM_INTEGER_LIMITS(char, -128, 127)
SIM_INTEGER_LIMITS(uchar, 0, 255)
SIM_INTEGER_LIMITS(short, -32768, 32767)
SIM_INTEGER_LIMITS(ushort, 0, 65535)
SIM_INTEGER_LIMITS(int, -2147483647 - 1, 2147483647)
SIM_INTEGER_LIMITS(uint, 0, 4294967295u)
SIM_INTEGER_LIMITS(long, -9223372036854775807L - 1, 9223372036854775807L)
SIM_INTEGER_LIMITS(ulong, 0, 18446744073709551615ul)

#define SIM_FLOAT_LIMITS(T, LOW, HIGH, EPSILON)  \
  template <>                                    \
  struct numeric_limits<T> {                     \
    static constexpr T min() {                   \
      return static_cast<T>(LOW);                \
    }                                            \
    static constexpr T lowest() {                \
      return static_cast<T>(-(HIGH));            \
    }                                            \
    static constexpr T max() {                   \
      return static_cast<T>(HIGH);               \
    }                                            \
    static constexpr T epsilon() {               \
      return static_cast<T>(EPSILON);            \
    }                                            \
    static constexpr T infinity() {              \
      return static_cast<T>(__builtin_inff());   \
    }                                            \
    static constexpr T quiet_NaN() {             \
      return static_cast<T>(__builtin_nanf("")); \
    }                                            \
  };
SIM_FLOAT_LIMITS(float, 0x1p-126f, 0x1.fffffep127f, 0x1p-23f)
SIM_FLOAT_LIMITS(half, 0x1p-14f, 65504.0f, 0x1p-10f)
SIM_FLOAT_LIMITS(bfloat, 0x1p-126f, 0x1.fep127f, 0x1p-7f)

}  // namespace metal

#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define FLT_MAX 0x1.fffffep127f
#define MAXFLOAT FLT_MAX
#define FLT_MIN 0x1p-126f
#define FLT_EPSILON 0x1p-23f
#define HALF_MAX static_cast<half>(65504.0f)
#define INT_MAX 2147483647
#define INT_MIN (-2147483647 - 1)
#define UINT_MAX 4294967295u
#define LONG_MAX 9223372036854775807L
#define LONG_MIN (-9223372036854775807L - 1)
#define ULONG_MAX 18446744073709551615ul
#define USHRT_MAX 65535
#define M_PI_F 3.14159265358979323846f
