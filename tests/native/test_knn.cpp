// knn against a sort by (float64 distance, id), through each of its passes: few and many queries, ties, and data far
// from the origin.
#include <algorithm>
#include <numeric>

#include "check.h"
#include "cpu/knn.h"

using namespace metalfaiss::cpu;

namespace {

double score(const float* q, const float* b, int64_t d, bool inner_product) {
  double sum = 0;
  for (int64_t i = 0; i < d; i++) {
    double x = q[i], y = b[i];
    sum += inner_product ? -x * y : (x - y) * (x - y);
  }
  return sum;
}

void test(int64_t nq, int64_t nb, int64_t d, int64_t k, float offset, bool tied) {
  auto queries = normal(nq * d, 1), rows = normal(nb * d, 2);
  for (auto* x : {&queries, &rows}) {
    for (float& v : *x) {
      v = (tied ? std::round(v) : v) + offset;
    }
  }
  for (bool inner_product : {false, true}) {
    std::vector<float> distances(nq * k);
    std::vector<int64_t> ids(nq * k);
    knn({row_major(queries, nq, d), row_major(rows, nb, d), k, inner_product, distances.data(), ids.data()});
    bool same = true;
    for (int64_t q = 0; q < nq; q++) {
      std::vector<double> scores(nb);
      for (int64_t i = 0; i < nb; i++) {
        scores[i] = score(&queries[q * d], &rows[i * d], d, inner_product);
      }
      std::vector<int64_t> order(nb);
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return scores[i] < scores[j]; });
      for (int64_t j = 0; j < k; j++) {
        int64_t id = ids[q * k + j];
        if (j >= nb) {
          same = same && id == -1;
          continue;
        }
        // Another order of the float64 sums may swap two whose scores agree to the last digits.
        double want = scores[order[j]];
        same = same && id >= 0 && std::abs(scores[id] - want) <= 1e-12 * std::abs(want) &&
               std::abs(distances[q * k + j] - (inner_product ? -want : want)) <= 1e-6 * std::abs(want);
        if (tied && offset == 0) {  // small integers: sums are exact, and so is the order
          same = same && id == order[j];
        }
      }
    }
    CHECK(same);
  }
}

}  // namespace

int main() {
  return at_every_level([] {
    for (int64_t nq : {1, 3, 20, 70}) {
      for (int64_t nb : {1, 17, 700}) {
        for (int64_t d : {1, 9, 40}) {
          for (bool tied : {false, true}) {
            test(nq, nb, d, 7, 0, tied);
          }
        }
      }
      test(nq, 500, 33, 10, 1e4f, false);
      test(nq, 100, 150, 10, 0, false);
      test(nq, 2000, 16, 100, 0, false);
    }
  });
}
