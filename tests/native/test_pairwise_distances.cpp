// pairwise_distances against sums in double.
#include "check.h"
#include "cpu/pairwise_distances.h"

using namespace metalfaiss::cpu;

namespace {

void test(int64_t nq, int64_t nb, int64_t d, float offset) {
  auto q = normal(nq * d, 1), b = normal(nb * d, 2);
  for (auto* x : {&q, &b}) {
    for (float& v : *x) {
      v += offset;
    }
  }
  for (bool l2 : {false, true}) {
    std::vector<float> out(nq * nb, NAN);
    pairwise_distances({row_major(q, nq, d), row_major(b, nb, d), out.data(), l2});
    bool close = true;
    for (int64_t i = 0; i < nq; i++) {
      for (int64_t j = 0; j < nb; j++) {
        double want = 0, lengths = 0;
        for (int64_t p = 0; p < d; p++) {
          double x = q[i * d + p], y = b[j * d + p];
          want += l2 ? (x - y) * (x - y) : x * y;
          lengths += x * x + y * y;
        }
        close = close && std::abs(out[i * nb + j] - want) <= 1e-5 * (l2 ? want : lengths);
      }
    }
    CHECK(close);
  }
}

}  // namespace

int main() {
  return at_every_level([] {
    for (int64_t nq : {1, 5, 40}) {
      for (int64_t nb : {1, 18, 130}) {
        for (int64_t d : {1, 8, 37, 300}) {
          test(nq, nb, d, 0);
        }
      }
    }
    test(9, 50, 64, 1e4f);
  });
}
