#include "cpu/qr.h"

#include "cpu/qr_cholesky.h"
#include "cpu/qr_householder.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

void fill(float* to, int64_t count, float value) {
  for (int64_t i = 0; i < count; i++) {
    to[i] = value;
  }
}

// Lengths of the columns in float64; false if one is not finite.
bool column_norms(const Matrix& a, double* norms) {
  __builtin_memset(norms, 0, sizeof(double) * a.cols);
  for (int64_t i0 = 0; i0 < a.rows; i0 += kBlockRows) {
    int64_t rows = at_most(kBlockRows, a.rows - i0);
    Rows block = rows_of(a, i0, rows);
    for (int64_t i = 0; i < rows; i++) {
      for (int64_t j = 0; j < a.cols; j++) {
        double value = block.data[i * block.ld + j];
        norms[j] += value * value;
      }
    }
  }
  bool finite = true;
  for (int64_t j = 0; j < a.cols; j++) {
    norms[j] = __builtin_sqrt(norms[j]);
    finite &= __builtin_isfinite(norms[j]) != 0;
  }
  return finite;
}

// The power of two that brings a length to [1, 2): exact, so that scaling costs no digits.
double power_of_two_scale(double norm) {
  if (norm == 0) {
    return 1;
  }
  uint64_t u;
  __builtin_memcpy(&u, &norm, sizeof u);
  u = (uint64_t{2046} << 52) - (u & (uint64_t{2047} << 52));
  double scale;
  __builtin_memcpy(&scale, &u, sizeof scale);
  return scale;
}

// norms: replaced by the scale.
void scaled_householder_qr(const Matrix& a, double* norms, float* q, float* r, int64_t ldr) {
  const int64_t n = a.cols;
  for (int64_t j = 0; j < n; j++) {
    norms[j] = power_of_two_scale(norms[j]);
  }
  with_memory(n * n, [&](float* square) {
    householder_qr(a, norms, q, square);
    for (int64_t i = 0; i < n; i++) {
      for (int64_t j = 0; j < n; j++) {
        r[i * ldr + j] = static_cast<float>(square[i * n + j] / norms[j]);
      }
    }
  });
}

template <int V>
Outcome try_cholesky(const Matrix& a, double** norms, float* q, float* r, int64_t ldr) {
  *norms = scratch<double>(Scratch::candidates, a.cols + cholesky_workspace<V>(a.cols));
  return cholesky_qr<V>(a, *norms, *norms + a.cols, q, r, ldr);
}

// m >= n; r has leading dimension ldr.
void tall_qr(const Matrix& a, float* q, float* r, int64_t ldr) {
  const int64_t n = a.cols;
  double* norms;
  Outcome outcome;
  if (n > kMaxCholeskyCols) {
    norms = scratch<double>(Scratch::candidates, n);
    outcome = column_norms(a, norms) ? Outcome::too_ill_conditioned : Outcome::not_finite;
  } else if (n > kNarrowCols) {
    outcome = try_cholesky<kWide>(a, &norms, q, r, ldr);
  } else {
    outcome = try_cholesky<kNarrow>(a, &norms, q, r, ldr);
  }
  if (outcome == Outcome::too_ill_conditioned) {
    scaled_householder_qr(a, norms, q, r, ldr);
  } else if (outcome == Outcome::not_finite) {
    fill(q, a.rows * n, __builtin_nanf(""));
    for (int64_t i = 0; i < n; i++) {
      fill(r + i * ldr, i, 0);
      fill(r + i * ldr + i, n - i, __builtin_nanf(""));
    }
  }
}

// out (m x n, leading dimension ldo) = q^T a, q m x m and row-contiguous.
void transposed_product(const float* q, int64_t m, const Matrix& a, float* out, int64_t ldo) {
  const Matrix qt{q, Float::f32, m, m, 1, m};
  const int64_t group = 4 * kPanelF;
  parallel_for(ceil_div(a.cols, group), [&](int64_t task) {
    int64_t j0 = task * group, cols = at_most(group, a.cols - j0);
    float* right = scratch<float>(Scratch::packed_b, round_up(cols, kPanelF) * m);
    const float* from = static_cast<const float*>(a.data);
    for (int64_t p0 = 0; p0 < cols; p0 += kPanelF) {
      for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < kPanelF; j++) {
          right[p0 * m + i * kPanelF + j] =
              p0 + j < cols ? from[i * a.row_stride + (j0 + p0 + j) * a.col_stride] : 0.0f;
        }
      }
    }
    for (int64_t i = 0; i < m; i += kBlockRows) {
      int64_t rows = at_most(kBlockRows, m - i);
      product(rows_of(qt, i, rows), rows, m, cols, right, false, out + i * ldo + j0, ldo);
    }
  });
}

}  // namespace

void qr(const QrArgs& args) {
  Matrix a = args.a;
  if (a.rows == 0 || a.cols == 0) {
    return;
  }
  if (a.rows >= a.cols) {
    return tall_qr(a, args.q, args.r, a.cols);
  }
  Matrix leading = a, rest = a;
  leading.cols = a.rows;
  rest.cols = a.cols - a.rows;
  rest.data = static_cast<const float*>(a.data) + a.rows * a.col_stride;
  tall_qr(leading, args.q, args.r, a.cols);
  transposed_product(args.q, a.rows, rest, args.r + a.rows, a.cols);
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
