// The three products against sums in double, over shapes around the edges of the tiles.
#include "check.h"
#include "cpu/gemm.h"

using namespace metalfaiss::cpu;

namespace {

// x^T y for x (m, n) and y (m, k), or x y for x (m, n) and y (n, k).
std::vector<double> product(const Matrix& x, const std::vector<double>& y, int64_t k, bool transpose) {
  Matrix a = transpose ? x.transposed() : x;
  std::vector<double> out(a.rows * k);
  for (int64_t i = 0; i < a.rows; i++) {
    for (int64_t p = 0; p < a.cols; p++) {
      double value = static_cast<const float*>(a.data)[i * a.row_stride + p * a.col_stride];
      for (int64_t j = 0; j < k; j++) {
        out[i * k + j] += value * y[p * k + j];
      }
    }
  }
  return out;
}

bool close(const std::vector<float>& got, const std::vector<double>& want, double tolerance) {
  for (size_t i = 0; i < want.size(); i++) {
    if (!(std::abs(got[i] - want[i]) <= tolerance)) {
      return false;
    }
  }
  return true;
}

void test_shape(int64_t m, int64_t n, int64_t k) {
  auto a = normal(m * n, 1), v = normal(n * k, 2), b = normal(m * k, 3);
  std::vector<double> v64(v.begin(), v.end()), b64(b.begin(), b.end());
  double tolerance = 1e-5 * (1 + m + n);
  for (bool transposed : {false, true}) {  // the same elements, in the other storage order
    Matrix left = row_major(a, m, n);
    if (transposed) {
      left = row_major(a, n, m).transposed();
    }
    std::vector<float> av(m * k, NAN), at_b(n * k, NAN), z(n * k, NAN);
    gemm_av({left, row_major(v, n, k), av.data(), Float::f32});
    gemm_at_b({left, row_major(b, m, k), at_b.data(), Float::f32});
    z_step({left, row_major(v, n, k), z.data(), Float::f32});
    auto want = product(left, v64, k, false);
    CHECK(close(av, want, tolerance));
    CHECK(close(at_b, product(left, b64, k, true), tolerance));
    CHECK(close(z, product(left, want, k, true), tolerance * 10));
  }
}

}  // namespace

int main() {
  return at_every_level([] {
    for (int64_t m : {1, 5, 13, 300}) {
      for (int64_t n : {1, 7, 65}) {
        for (int64_t k : {1, 8, 17, 40}) {
          test_shape(m, n, k);
        }
      }
    }
    test_shape(2000, 130, 33);
    test_shape(0, 4, 3);
    test_shape(4, 0, 3);
  });
}
