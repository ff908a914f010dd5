// QR against its contract: orthonormal columns, a small residual, an upper triangle with a diagonal >= 0.
#include "check.h"
#include "cpu/qr.h"

using namespace metalfaiss::cpu;

namespace {

bool meets_contract(const Matrix& a) {
  const int64_t m = a.rows, n = a.cols, k = m < n ? m : n;
  std::vector<float> q(m * k, NAN), r(k * n, NAN);
  qr({a, q.data(), r.data()});
  double off = 0, residual = 0, size = 0;
  for (int64_t i = 0; i < k; i++) {
    for (int64_t j = 0; j <= i; j++) {
      double dot = 0;
      for (int64_t p = 0; p < m; p++) {
        dot += static_cast<double>(q[p * k + i]) * q[p * k + j];
      }
      off = std::fmax(off, std::abs(dot - (i == j)));
      if (std::isnan(dot) || (i == j ? r[i * n + i] < 0 : r[i * n + j] != 0)) {
        return false;
      }
    }
  }
  for (int64_t i = 0; i < m; i++) {
    for (int64_t j = 0; j < n; j++) {
      double value = static_cast<const float*>(a.data)[i * a.row_stride + j * a.col_stride], product = 0;
      for (int64_t p = 0; p < k; p++) {
        product += static_cast<double>(q[i * k + p]) * r[p * n + j];
      }
      residual += (value - product) * (value - product);
      size += value * value;
    }
  }
  return off <= 1e-5 && std::sqrt(residual) <= 1e-6 * std::sqrt(n * size);
}

void test_shape(int64_t m, int64_t n) {
  auto a = normal(m * n, 1);
  CHECK(meets_contract(row_major(a, m, n)));
  CHECK(meets_contract(row_major(a, n, m).transposed()));
  auto close = a, singular = a;  // two passes of Cholesky QR; Householder
  for (int64_t i = 0; i < m; i++) {
    for (int64_t j = 1; j < n; j++) {
      close[i * n + j] = a[i * n] + 1e-3f * a[i * n + j];
    }
    singular[i * n + n - 1] = a[i * n];
  }
  CHECK(meets_contract(row_major(close, m, n)));
  CHECK(meets_contract(row_major(singular, m, n)));
  CHECK(meets_contract(row_major(std::vector<float>(m * n), m, n)));
}

}  // namespace

int main() {
  return at_every_level([] {
    for (auto [m, n] : {std::pair{1, 1}, {7, 3}, {64, 16}, {65, 17}, {33, 33}, {130, 100}, {5, 12}, {1200, 20}}) {
      test_shape(m, n);
    }
  });
}
