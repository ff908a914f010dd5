// The exact rank of a vector for a query: its score (squared distance, or minus the inner product) to about 46 bits, as
// an integer that orders as scores do. Scores as small as 2^-400 are told apart, so that neighbours are those of a
// float64 computation even where float32 underflows.
//
// Of a score (hi + lo) 2^e the key holds the sign, the exponent of hi in 11 bits and hi + lo in units of 2^-49.
#pragma once

#include "double_float.h"
#include "exponent.h"

#define NO_SCORE 0xfffffffffffffffful  // not finite in float32: no result. Behind every score
#define ZERO_SCORE 0x8000000000000000ul

inline bool is_finite(float x) {
  return (as_type<uint>(x) & 0x7f800000u) != 0x7f800000u;
}

// x 2^n, for any n from -500 to 500.
inline float scaled(float x, int n) {
  float y = x;
  for (int rest = n; rest != 0;) {
    int step = clamp(rest, -100, 100);
    y *= power_of_2(step);
    rest -= step;
  }
  return y;
}

inline float score_of(ulong key) {
  ulong m = key >= ZERO_SCORE ? key - ZERO_SCORE : ZERO_SCORE - key;
  if (m == 0ul) {
    return 0.0f;
  }
  ulong digits = (m & 0x7fffffffffffful) + 0x2000000ul;
  float x = scaled(float(uint(digits >> 26)), int(m >> 51) - 1024 - 23);
  return key >= ZERO_SCORE ? x : -x;
}

// The key of (x.hi + x.lo) 2^exponent; x is normalised and finite.
inline ulong score_key(DoubleFloat x, int exponent) {
  if (x.hi == 0.0f) {
    return ZERO_SCORE;
  }
  int shift = abs(x.hi) < 1e-15f ? 100 : 0;  // also out of the subnormal numbers
  float hi = scaled(abs(x.hi), shift), lo = scaled(x.hi < 0.0f ? -x.lo : x.lo, shift);
  int e = exponent_of(hi);
  hi = scaled(hi, -e);  // in [1, 2)
  lo = scaled(lo, -e);
  long digits = (long(uint(hi * 8388608.0f)) << 26) + long(int(lo * 562949953421312.0f));
  ulong m = (ulong(e - shift + exponent + 1024) << 51) + ulong(digits);
  ulong key = x.hi < 0.0f ? ZERO_SCORE - m : ZERO_SCORE + m;
  return is_finite(score_of(key)) ? key : NO_SCORE;
}

inline ulong float_score_key(float x) {
  DoubleFloat exact;
  exact.hi = x;
  exact.lo = 0.0f;
  return is_finite(x) ? score_key(exact, 0) : NO_SCORE;
}
