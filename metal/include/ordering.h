// Keys that order as values do, and pairs of a key and an index: one unsigned comparison decides between values, then
// between indices, so that no two candidates are equal and every order of work gives the same result.
#pragma once

#define NAN_KEY 0xffffffffu
#define NO_PAIR 0xfffffffffffffffful  // behind every pair: fills what is not taken

// Smaller for smaller values; with `flip` = 0x80000000 for larger ones. NaN is last either way, -0 equals 0. `bits` are
// those of a float32, or those of a 16-bit float in the upper half; `infinity` are the bits of infinity there. All in
// integers: subnormal numbers count whatever the GPU does to them.
inline uint order_key(uint bits, uint flip, uint infinity) {
  uint b = bits ^ flip;
  b = b == 0x80000000u ? 0u : b;
  uint key = b ^ (uint(int(b) >> 31) | 0x80000000u);
  return (bits & 0x7fffffffu) > infinity ? NAN_KEY : key;
}

// Never above order_key, and two instructions: a candidate is looked at again if this does not exceed the threshold.
inline uint low_key(uint bits, uint flip) {
  uint b = bits ^ flip;
  return b ^ (uint(int(b) >> 31) | 0x80000000u);
}

inline uint float_key(float v) {
  return order_key(as_type<uint>(v), 0u, 0x7f800000u);
}

// The value of a key of float_key, with 0 for both zeros and a quiet NaN for NAN_KEY.
inline float value_of_key(uint key) {
  uint bits = (key & 0x80000000u) != 0u ? key ^ 0x80000000u : ~key;
  return as_type<float>(key == NAN_KEY ? 0x7fc00000u : bits);
}

inline ulong pair_of(uint key, uint index) {
  return (ulong(key) << 32) | ulong(index);
}

inline uint key_of(ulong pair) {
  return uint(pair >> 32);
}

inline uint index_of(ulong pair) {
  return uint(pair & 0xfffffffful);
}

inline ulong smaller(ulong a, ulong b) {
  return a < b ? a : b;
}

inline uint ceil_power_of_2(uint n) {
  return n <= 1u ? 1u : 1u << (32u - uint(clz(n - 1u)));
}
