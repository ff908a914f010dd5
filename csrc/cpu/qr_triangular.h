// Small upper triangular matrices in float64: Cholesky factor, inverse, product. Row-major, the leading dimension a
// multiple of kStrip * WD, so that rows are processed in strips of whole vectors.
#pragma once

#include "cpu/simd.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

inline constexpr int kStrip = 4;  // vectors

// s += sum over k < count of c[k * step] * m[k], rows of N vectors.
template <int N>
METALFAISS_INLINE void combine(vd* s, const double* c, int64_t step, const double* m, int64_t ld, int64_t count) {
  vd acc[N];
  for (int v = 0; v < N; v++) {
    acc[v] = s[v];
  }
  for (int64_t k = 0; k < count; k++) {
    vd factor = broadcast(c[k * step]);
#pragma GCC unroll 8
    for (int v = 0; v < N; v++) {
      acc[v] = fma(factor, load(m + k * ld + v * WD), acc[v]);
    }
  }
  for (int v = 0; v < N; v++) {
    s[v] = acc[v];
  }
}

// Calls f.operator()<N>(j) for strips of N vectors that cover columns [from, ld).
template <typename F>
METALFAISS_INLINE void for_strips(int64_t from, int64_t ld, F f) {
  int64_t j = from / WD * WD;
  for (; j + 2 * kStrip * WD <= ld; j += 2 * kStrip * WD) {
    f.template operator()<2 * kStrip>(j);
  }
  for (; j + kStrip * WD <= ld; j += kStrip * WD) {
    f.template operator()<kStrip>(j);
  }
  if (j + 2 * WD <= ld) {
    f.template operator()<2>(j);
    j += 2 * WD;
  }
  if (j < ld) {
    f.template operator()<1>(j);
  }
}

// Overwrites the upper triangle of g with R, R^T R = g. False if a pivot is at most `tolerance` times what its column
// started with: g is then too close to singular for its digits. What lies below the diagonal is neither read nor kept.
inline bool cholesky(double* g, int64_t n, int64_t ld, double tolerance) {
  for (int64_t i = 0; i < n; i++) {
    double* row = g + i * ld;
    const double threshold = tolerance * row[i];
    double scale = 0;
    bool ok = true;
    for_strips(i, ld, [&]<int N>(int64_t j) __attribute__((always_inline)) {
      vd sum[N] = {};
      combine<N>(sum, g + i, ld, g + j, ld, i);
      vd s[N];
      for (int v = 0; v < N; v++) {
        s[v] = load(row + j + v * WD) - sum[v];
      }
      if (scale == 0) {  // the strip that holds the diagonal
        double pivot = s[0][i - j];
        ok = pivot > threshold;
        scale = ok ? 1 / __builtin_sqrt(pivot) : 1;
        for (int64_t lane = 0; lane < i - j; lane++) {
          s[0][lane] = 0;
        }
      }
      for (int v = 0; v < N; v++) {
        store(row + j + v * WD, s[v] * scale);
      }
    });
    if (!ok) {
      return false;
    }
  }
  return true;
}

// x = r^-1 with zeros below its diagonal. Returns the 1-norm of the inverse of r with its columns divided by `norms`:
// a bound of the condition number, up to sqrt(n), where the scaled columns have length one.
inline double invert(const double* r, int64_t n, int64_t ld, const double* norms, double* x) {
  __builtin_memset(x, 0, sizeof(double) * n * ld);
  for (int64_t i = n - 1; i >= 0; i--) {
    const double* row = r + i * ld;
    const double inverse = 1 / row[i];
    double* out = x + i * ld;
    for_strips(i, ld, [&]<int N>(int64_t j) __attribute__((always_inline)) {
      vd s[N] = {};
      int64_t end = j + N * WD < n ? j + N * WD : n;
      combine<N>(s, row + i + 1, 1, x + (i + 1) * ld + j, ld, end - (i + 1));
      for (int v = 0; v < N; v++) {
        store(out + j + v * WD, s[v] * -inverse);
      }
    });
    out[i] = inverse;
  }
  double worst = 0;
  for (int64_t j = 0; j < ld; j += WD) {
    vd column{};
    for (int64_t i = 0; i < n && i < j + WD; i++) {
      vd value = load(x + i * ld + j);
      column += (value < 0 ? -value : value) * norms[i];
    }
    for (int lane = 0; lane < WD; lane++) {
      worst = column[lane] > worst ? column[lane] : worst;
    }
  }
  return worst;
}

// out = s r, the product of two upper triangular matrices.
inline void multiply(const double* s, const double* r, int64_t n, int64_t ld, double* out) {
  for (int64_t i = 0; i < n; i++) {
    for_strips(i, ld, [&]<int N>(int64_t j) __attribute__((always_inline)) {
      vd sum[N] = {};
      int64_t end = j + N * WD < n ? j + N * WD : n;
      for (int64_t k = i; k < end; k++) {
        vd factor = broadcast(s[i * ld + k]);
        for (int v = 0; v < N; v++) {
          vd right = load(r + k * ld + j + v * WD);
          if (j + v * WD < k) {  // this vector holds the diagonal or what lies below it
            for (int lane = 0; lane < WD && j + v * WD + lane < k; lane++) {
              right[lane] = 0;
            }
          }
          sum[v] = fma(factor, right, sum[v]);
        }
      }
      for (int v = 0; v < N; v++) {
        store(out + i * ld + j + v * WD, sum[v]);
      }
    });
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
