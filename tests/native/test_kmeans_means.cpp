// K-means: the means of clusters, of all points and of those that moved alone, are those of a sum in float64.
#include <cmath>

#include "check.h"
#include "cpu/kmeans.h"

using namespace metalfaiss::cpu;

namespace {

struct Means {
  std::vector<double> sums;
  std::vector<float> means, totals;
};

Means means_of(const std::vector<float>& x, const std::vector<int64_t>& ids, int64_t k, int64_t d,
               const std::vector<int64_t>* ids_before, const Means* before) {
  const auto n = static_cast<int64_t>(ids.size());
  Means out{std::vector<double>(k * kmeans_sums_width(d)), std::vector<float>(k * d), std::vector<float>(k)};
  std::vector<int64_t> workspace(kmeans_means_workspace(n, k, d) / 8 + 1);
  kmeans_means({x.data(), ids.data(), nullptr, before ? ids_before->data() : nullptr,
                before ? before->sums.data() : nullptr, n, k, d, workspace.data(), out.sums.data(), out.means.data(),
                out.totals.data()});
  return out;
}

void check_means(const Means& found, const std::vector<float>& x, const std::vector<int64_t>& ids, int64_t k,
                 int64_t d) {
  for (int64_t j = 0; j < k; j++) {
    std::vector<double> sum(d);
    int64_t count = 0;
    for (size_t i = 0; i < ids.size(); i++) {
      if (ids[i] == j) {
        count++;
        for (int64_t p = 0; p < d; p++) {
          sum[p] += x[i * d + p];
        }
      }
    }
    bool same = found.totals[j] == static_cast<float>(count);
    for (int64_t p = 0; p < d; p++) {
      const double mean = count ? sum[p] / count : 0;
      same = same && std::abs(found.means[j * d + p] - mean) <= 1e-6 * (1 + std::abs(mean));
    }
    CHECK(same);
  }
}

void test(int64_t n, int64_t k, int64_t d) {
  std::vector<float> x = normal(n * d, 5);
  std::vector<int64_t> ids(n);
  for (int64_t i = 0; i < n; i++) {
    ids[i] = i * i % (k + 1);  // some belong to none
  }
  Means found = means_of(x, ids, k, d, nullptr, nullptr);
  check_means(found, x, ids, k, d);
  for (int64_t step : {1000, 7, 3, 1}) {
    std::vector<int64_t> after = ids;
    for (int64_t i = 0; i < n; i += step) {
      after[i] = (ids[i] + i) % (k + 2) - 1;
    }
    Means moved = means_of(x, after, k, d, &ids, &found);
    check_means(moved, x, after, k, d);
    ids = after;
    found = moved;
  }
}

}  // namespace

int main() {
  return at_every_level([] {
    test(1, 1, 1);
    test(9, 12, 5);
    test(700, 9, 37);
    test(5000, 2, 16);  // clusters of several chunks
  });
}
