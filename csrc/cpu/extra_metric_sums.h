// What each metric adds up over the dimensions. Lanes outside of `live` do not count.
#pragma once

#include "cpu/simd.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

METALFAISS_INLINE vi is_nan(vf x) {
  return x != x;
}

// The natural logarithm, within 2 units in the last place; of 0 -infinity, of negative numbers NaN. Polynomial of
// Cephes' logf (Moshier).
METALFAISS_INLINE vf log(vf x) {
  const vf tiny = broadcast(0x1p-126f);
  vi small = x < tiny;
  vf scaled = select(small, x * broadcast(0x1p24f), x);
  vi bits = (vi)scaled;
  vf exponent = __builtin_convertvector((bits >> 23) - 126 - (small & 24), vf);
  vf m = (vf)((bits & 0x007fffff) | 0x3f000000);  // in [0.5, 1)
  vi low = m < broadcast(0.707106781186547524f);
  exponent = exponent - select(low, broadcast(1.0f), vf{});
  m = m + select(low, m, vf{}) - broadcast(1.0f);
  vf z = m * m;
  vf y = broadcast(7.0376836292e-2f);
  y = fma(y, m, broadcast(-1.1514610310e-1f));
  y = fma(y, m, broadcast(1.1676998740e-1f));
  y = fma(y, m, broadcast(-1.2420140846e-1f));
  y = fma(y, m, broadcast(1.4249322787e-1f));
  y = fma(y, m, broadcast(-1.6668057665e-1f));
  y = fma(y, m, broadcast(2.0000714765e-1f));
  y = fma(y, m, broadcast(-2.4999993993e-1f));
  y = fma(y, m, broadcast(3.3333331174e-1f));
  y = y * m * z;
  y = fma(exponent, broadcast(-2.12194440e-4f), y);
  y = fma(z, broadcast(-0.5f), y);
  vf result = fma(exponent, broadcast(0.693359375f), m + y);
  const vf infinity = broadcast(__builtin_inff());
  result = select(x == infinity, infinity, result);
  result = select(x == vf{}, -infinity, result);
  return select((x < vf{}) | is_nan(x), broadcast(__builtin_nanf("")), result);
}

struct SumL1 {
  vf sum{};
  METALFAISS_INLINE void add(vf x, vf y, vi live, float) { sum += select(live, abs(x - y), vf{}); }
  METALFAISS_INLINE float result(int64_t) const { return METALFAISS_SIMD_LEVEL::sum(sum); }
};

struct SumLinf {
  vf largest{};
  METALFAISS_INLINE void add(vf x, vf y, vi live, float) {
    vf difference = select(live, abs(x - y), vf{});
    largest = select(difference > largest, difference, largest);  // NaN does not count
  }
  METALFAISS_INLINE float result(int64_t) const {
    float most = 0;
    for (int i = 0; i < W; i++) {
      most = largest[i] > most ? largest[i] : most;
    }
    return most;
  }
};

struct SumLp {
  vf sum{};
  METALFAISS_INLINE void add(vf x, vf y, vi live, float p) {
    vf difference = select(live, abs(x - y), vf{});
    if (p == 2) {
      sum = fma(difference, difference, sum);
    } else {
      for (int i = 0; i < W; i++) {
        sum[i] += live[i] ? __builtin_powf(difference[i], p) : 0.0f;
      }
    }
  }
  METALFAISS_INLINE float result(int64_t) const { return METALFAISS_SIMD_LEVEL::sum(sum); }
};

struct SumCanberra {
  vf sum{};
  METALFAISS_INLINE void add(vf x, vf y, vi live, float) { sum += select(live, abs(x - y) / (abs(x) + abs(y)), vf{}); }
  METALFAISS_INLINE float result(int64_t) const { return METALFAISS_SIMD_LEVEL::sum(sum); }
};

struct SumBrayCurtis {
  vf apart{}, together{};
  METALFAISS_INLINE void add(vf x, vf y, vi live, float) {
    apart += select(live, abs(x - y), vf{});
    together += select(live, abs(x + y), vf{});
  }
  METALFAISS_INLINE float result(int64_t) const {
    return METALFAISS_SIMD_LEVEL::sum(apart) / METALFAISS_SIMD_LEVEL::sum(together);
  }
};

struct SumJensenShannon {
  vf sum{};
  METALFAISS_INLINE void add(vf x, vf y, vi live, float) {
    vf middle = (x + y) * broadcast(0.5f);
    vf divergence = x * log(middle / x) + y * log(middle / y);
    sum -= select(live, divergence, vf{});
  }
  METALFAISS_INLINE float result(int64_t) const { return 0.5f * METALFAISS_SIMD_LEVEL::sum(sum); }
};

struct SumJaccard {
  vf shared{}, whole{};
  METALFAISS_INLINE void add(vf x, vf y, vi live, float) {
    shared += select(live, min(x, y), vf{});
    whole += select(live, max(x, y), vf{});
  }
  METALFAISS_INLINE float result(int64_t) const {
    return METALFAISS_SIMD_LEVEL::sum(shared) / METALFAISS_SIMD_LEVEL::sum(whole);
  }
};

struct SumNanEuclidean {
  vf sum{};
  vi present{};  // minus their number
  METALFAISS_INLINE void add(vf x, vf y, vi live, float) {
    vf difference = x - y;
    vi counts = live & ~(is_nan(x) | is_nan(y));
    difference = select(counts, difference, vf{});
    sum = fma(difference, difference, sum);
    present += counts;
  }
  METALFAISS_INLINE float result(int64_t d) const {
    float n = static_cast<float>(-METALFAISS_SIMD_LEVEL::sum(present));
    return n == 0 ? __builtin_nanf("") : static_cast<float>(d) / n * METALFAISS_SIMD_LEVEL::sum(sum);
  }
};

// Values from 0 to 1 are numbers, negative ones are categories; NaN is missing.
struct SumGower {
  vf sum{};
  vi present{}, wrong{};
  METALFAISS_INLINE void add(vf x, vf y, vi live, float) {
    vi counts = live & ~(is_nan(x) | is_nan(y));
    vi numbers = (x >= vf{}) & (y >= vf{}), categories = (x < vf{}) & (y < vf{});
    vf one = broadcast(1.0f);
    wrong |= counts & ((numbers & ((x > one) | (y > one))) | ~(numbers | categories));
    vf apart = select(numbers, abs(x - y), select(x != y, one, vf{}));
    sum += select(counts, apart, vf{});
    present += counts;
  }
  METALFAISS_INLINE float result(int64_t) const {
    float n = static_cast<float>(-METALFAISS_SIMD_LEVEL::sum(present));
    return n == 0 || bits(wrong) ? __builtin_nanf("") : METALFAISS_SIMD_LEVEL::sum(sum) / n;
  }
};

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
