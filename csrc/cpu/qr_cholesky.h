// Cholesky QR: R from the Gram matrix in float64, Q = A R^-1. Fast, and as accurate as Householder's method where it
// accepts the matrix.
//
// Fukaya, Kannan, Nakatsukasa, Yamamoto, Yanagisawa: Shifted Cholesky QR for computing the QR factorization of
// ill-conditioned matrices, SIAM J. Sci. Comput. 42 (2020), and its predecessor CholeskyQR2.
#pragma once

#include "cpu/qr_tiles.h"
#include "cpu/qr_triangular.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

// With columns scaled to length one, kappa = ||R^-1||_1 bounds how rounding grows: Q = A R^-1 in float32 is off by at
// most kappa * 2^-24 * (a random walk over n terms), in orthogonality and in A - QR.
inline constexpr double kSinglePassKappa = 16;
// Float64 keeps ||Q^T Q - I|| of the first of two passes near kappa^2 * 2^-53 * sqrt(n): above this it would not pass
// the check that follows, so do not begin.
inline constexpr double kTwoPassKappa = 4e6;
inline constexpr double kPivotTolerance = 1e-15;
// Single-pass products have 1/length in float32 as a factor.
inline constexpr double kShortestColumn = 1e-30, kLongestColumn = 1e30;
// n^3 work on one core: a wider matrix is left to Householder, whose work is all parallel.
inline constexpr int64_t kMaxCholeskyCols = 1024;
inline constexpr int64_t kNarrowCols = 96;          // up to which narrow tiles win
inline constexpr int64_t kPartialBytes = 16 << 20;  // at most, for the Gram matrices of chunks of rows

// How many rows share one Gram matrix: enough to outweigh adding it up, and the same for any number of threads.
inline int64_t gram_chunk_rows(int64_t m, int64_t n, int64_t gram_bytes) {
  int64_t chunks = at_least(1, at_most(64, kPartialBytes / gram_bytes));
  return at_least(round_up(at_least(256, 2 * n), kBlockRows), round_up(ceil_div(m, chunks), kBlockRows));
}

// The leading dimension of the n x n matrices: whole strips, and room for whole tiles.
template <int V>
int64_t square_ld(int64_t n) {
  return round_up(round_up(n, V * WD), kStrip * WD);
}
inline int64_t square_rows(int64_t n) {
  return round_up(n, kRowsD);
}

// Adds rows [begin, end) of a to the Gram matrix g, whose tiles start from zero.
template <int V>
void gram_rows(const Matrix& a, int64_t begin, int64_t end, double* g, int64_t ld) {
  const int64_t n = a.cols;
  __builtin_memset(g, 0, sizeof(double) * square_rows(n) * ld);
  double* block = scratch<double>(Scratch::packed_a, kBlockRows * Double<V>::panels(n) * Double<V>::nr);
  for (int64_t i = begin; i < end; i += kBlockRows) {
    int64_t rows = at_most(kBlockRows, end - i);
    pack_block<V>(rows_of(a, i, rows), rows, n, block);
    gram_block<V>(block, round_up(rows, kRowsD), n, g, ld);
  }
}

// g (square_rows(n) x ld) = a^T a, the upper triangle.
template <int V>
void gram(const Matrix& a, double* g, int64_t ld) {
  const int64_t n = a.cols, size = square_rows(n) * ld;
  const int64_t chunk_rows = gram_chunk_rows(a.rows, n, size * static_cast<int64_t>(sizeof(double)));
  const int64_t chunks = ceil_div(a.rows, chunk_rows);
  if (chunks == 1) {
    gram_rows<V>(a, 0, a.rows, g, ld);
    return;
  }
  double* partial = scratch<double>(Scratch::partial, chunks * size);
  parallel_for(chunks, [&](int64_t c) {
    gram_rows<V>(a, c * chunk_rows, at_most((c + 1) * chunk_rows, a.rows), partial + c * size, ld);
  });
  const int64_t group = chunks * n * n > 100000 ? 16 : n;  // rows that a task adds up
  parallel_for(ceil_div(n, group), [&](int64_t task) {
    for (int64_t i = task * group; i < at_most((task + 1) * group, n); i++) {
      for (int64_t j = i / WD * WD; j < ld; j += WD) {
        vd sum{};
        for (int64_t c = 0; c < chunks; c++) {
          sum += load(partial + c * size + i * ld + j);
        }
        store(g + i * ld + j, sum);
      }
    }
  });
}

// q = a x in float32, x upper triangular. q may be a.
inline void times_upper(const Matrix& a, const double* x, int64_t ld, float* q) {
  const int64_t n = a.cols;
  float* right = scratch<float>(Scratch::packed_b, round_up(n, kPanelF) * n);
  pack_upper<float, kPanelF>(x, ld, n, right);
  const int64_t chunk = n >= 128 ? kBlockRows : 4 * kBlockRows;
  parallel_for(ceil_div(a.rows, chunk), [&](int64_t c) {
    for (int64_t i = c * chunk; i < at_most((c + 1) * chunk, a.rows); i += kBlockRows) {
      int64_t rows = at_most(kBlockRows, a.rows - i);
      product(rows_of(a, i, rows), rows, n, n, right, true, q + i * n, n);
    }
  });
}

// q = a x in float64, rounded to float32, x upper triangular.
template <int V>
void times_upper_double(const Matrix& a, const double* x, int64_t ld, float* q) {
  constexpr int nr = Double<V>::nr;
  const int64_t n = a.cols;
  double* right = scratch<double>(Scratch::packed_b, Double<V>::panels(n) * nr * n);
  pack_upper<double, nr>(x, ld, n, right);
  parallel_for(ceil_div(a.rows, kBlockRows), [&](int64_t c) {
    int64_t i = c * kBlockRows, rows = at_most(kBlockRows, a.rows - i);
    double* block = scratch<double>(Scratch::packed_a, kBlockRows * Double<V>::panels(n) * nr);
    pack_block<V>(rows_of(a, i, rows), rows, n, block);
    product_block<V>(block, rows, n, right, q + i * n, n);
  });
}

inline void write_upper(const double* from, int64_t ld, int64_t n, float* r, int64_t ldr) {
  for (int64_t i = 0; i < n; i++) {
    for (int64_t j = 0; j < n; j++) {
      r[i * ldr + j] = j < i ? 0 : static_cast<float>(from[i * ld + j]);
    }
  }
}

enum class Outcome { done, not_finite, too_ill_conditioned };

template <int V>
int64_t cholesky_workspace(int64_t n) {
  return 4 * square_rows(n) * square_ld<V>(n);
}

// norms: the lengths of a's columns, an output.
template <int V>
Outcome cholesky_qr(const Matrix& a, double* norms, double* workspace, float* q, float* r, int64_t ldr) {
  const int64_t n = a.cols, ld = square_ld<V>(n), size = square_rows(n) * ld;
  double *first = workspace, *x = first + size, *second = x + size, *both = second + size;
  gram<V>(a, first, ld);
  bool in_range = true;
  for (int64_t j = 0; j < n; j++) {
    norms[j] = __builtin_sqrt(first[j * ld + j]);
    if (!__builtin_isfinite(norms[j])) {
      return Outcome::not_finite;
    }
    in_range &= norms[j] > kShortestColumn && norms[j] < kLongestColumn;
  }
  if (!cholesky(first, n, ld, kPivotTolerance)) {
    return Outcome::too_ill_conditioned;
  }
  double kappa = invert(first, n, ld, norms, x);
  if (kappa <= kSinglePassKappa && in_range) {
    times_upper(a, x, ld, q);
    write_upper(first, ld, n, r, ldr);
    return Outcome::done;
  }
  if (!(kappa <= kTwoPassKappa)) {
    return Outcome::too_ill_conditioned;
  }
  times_upper_double<V>(a, x, ld, q);
  const Matrix nearly{q, Float::f32, a.rows, n, n, 1};
  gram<V>(nearly, second, ld);
  double off = 0;  // || Q^T Q - I ||_F^2
  for (int64_t i = 0; i < n; i++) {
    double diagonal = second[i * ld + i] - 1;
    off += diagonal * diagonal;
    for (int64_t j = i + 1; j < n; j++) {
      off += 2 * second[i * ld + j] * second[i * ld + j];
    }
  }
  if (!(off <= 0.25) || !cholesky(second, n, ld, kPivotTolerance)) {
    return Outcome::too_ill_conditioned;
  }
  double* ones = both;  // the lengths of the columns of q
  for (int64_t j = 0; j < n; j++) {
    ones[j] = 1;
  }
  invert(second, n, ld, ones, x);
  times_upper(nearly, x, ld, q);
  multiply(second, first, n, ld, both);
  write_upper(both, ld, n, r, ldr);
  return Outcome::done;
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
