// The contract of qr: Q orthonormal to 1e-5, A = Q R to 1e-6 sqrt(n), diagonal of R not negative.
#include "check.h"
#include "cpu/qr.h"

using namespace metalfaiss::cpu;

namespace {

void test(const std::vector<float>& a, int64_t m, int64_t n) {
  int64_t k = std::min(m, n);
  std::vector<float> q(m * k, NAN), r(k * n, NAN);
  qr({row_major(a, m, n), q.data(), r.data()});
  double off = 0, residual = 0, norm = 0;
  for (int64_t i = 0; i < k; i++) {
    CHECK(r[i * n + i] >= 0);
    for (int64_t j = 0; j <= i; j++) {
      double dot = 0;
      for (int64_t p = 0; p < m; p++) {
        dot += double{q[p * k + i]} * q[p * k + j];
      }
      off = std::max(off, std::abs(dot - (i == j)));
      CHECK(j == i || r[i * n + j] == 0);
    }
  }
  for (int64_t i = 0; i < m; i++) {
    for (int64_t j = 0; j < n; j++) {
      double value = a[i * n + j], product = 0;
      for (int64_t p = 0; p < k; p++) {
        product += double{q[i * k + p]} * r[p * n + j];
      }
      residual += (value - product) * (value - product);
      norm += value * value;
    }
  }
  CHECK(off <= 1e-5);
  CHECK(std::sqrt(residual) <= 1e-6 * std::sqrt(n) * std::sqrt(norm));
}

}  // namespace

int main() {
  return at_every_level([] {
    const int64_t shapes[][2] = {{1, 1}, {5, 3}, {16, 16}, {3, 8}, {64, 16}, {300, 33}, {1000, 70}};
    for (auto [m, n] : shapes) {
      auto a = normal(m * n, static_cast<unsigned>(m + n));
      test(a, m, n);
      auto nearly_parallel = a;
      for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 1; j < n; j++) {
          nearly_parallel[i * n + j] = a[i * n] + 1e-6f * a[i * n + j];
        }
      }
      test(nearly_parallel, m, n);
      auto singular = a;
      for (int64_t i = 0; i < m; i++) {
        singular[i * n + n - 1] = a[i * n];
      }
      test(singular, m, n);
      test(std::vector<float>(m * n, 0.0f), m, n);
    }
  });
}
