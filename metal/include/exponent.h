// Powers of two, and the exponents of numbers.
#pragma once

// 2^n, -126 <= n <= 127.
inline float power_of_2(int n) {
  return as_type<float>(uint(n + 127) << 23);
}

// The exponent of a normal x, otherwise the smallest.
inline int exponent_of(float x) {
  return max(int((as_type<uint>(x) >> 23) & 255u) - 127, -126);
}

// The shift that brings the largest of some numbers to [2^14, 2^15), where 16 bits hold it and as much as possible of
// those that are smaller.
inline int shift_of(float largest) {
  return clamp(14 - exponent_of(largest), -100, 100);
}
