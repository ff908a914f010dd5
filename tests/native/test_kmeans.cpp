// K-means: the assignment by bounds of rounded vectors is the nearest centroid in float64.
#include "cpu/kmeans.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "check.h"

using namespace metalfaiss::cpu;

namespace {

std::vector<float> around(float mean, int64_t n, unsigned seed) {
  std::vector<float> x = normal(n, seed);
  for (float& v : x) {
    v += mean;
  }
  return x;
}

double distance(const float* a, const float* b, int64_t d) {
  double sum = 0;
  for (int64_t i = 0; i < d; i++) {
    sum += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
  }
  return sum;
}

// Assignments to centroids that move now and then, with a memory and without.
void test_memory(const std::vector<float>& x, std::vector<float> c, int64_t n, int64_t k, int64_t d) {
  std::vector<int8_t> codes(n * kmeans_codes_width(d));
  std::vector<uint8_t> bounds(n * kmeans_bounds_width(k));
  std::vector<KmeansRounded> rounded(n);
  std::vector<float> center(d), centroids(k * d);
  std::vector<int64_t> last(n), plain(n), remembered(n);
  KmeansMemory memory{codes.data(), rounded.data(), center.data(), bounds.data(), 1, centroids.data(), last.data(), 0};
  unsigned seed = 5;
  for (float moved : {0.0f, 0.01f, 0.0f, 0.001f, 1.0f, 0.1f}) {
    std::vector<float> shift = normal(k * d, seed++);
    for (size_t i = 0; i < c.size(); i++) {
      c[i] += moved * shift[i];
    }
    kmeans_assign({x.data(), c.data(), n, k, d, nullptr, plain.data(), nullptr, nullptr});
    kmeans_assign({x.data(), c.data(), n, k, d, nullptr, remembered.data(), nullptr, &memory});
    CHECK(remembered == plain);
  }
}

void test(int64_t n, int64_t k, int64_t d, float offset, float peak) {
  auto x = around(offset, n * d, 1), c = around(offset, k * d, 2);
  for (int64_t i = 0; i < n; i++) {
    x[i * d] *= peak;
  }
  std::vector<float> distances(n);
  std::vector<int64_t> ids(n);
  int64_t measured;
  kmeans_assign({x.data(), c.data(), n, k, d, distances.data(), ids.data(), &measured, nullptr});
  bool nearest = true;
  for (int64_t i = 0; i < n; i++) {
    std::vector<double> exact(k);
    for (int64_t j = 0; j < k; j++) {
      exact[j] = distance(&x[i * d], &c[j * d], d);
    }
    const double least = *std::min_element(exact.begin(), exact.end());
    nearest = nearest && ids[i] >= 0 && ids[i] < k && exact[ids[i]] <= least * (1 + 1e-5);
    nearest = nearest && std::abs(distances[i] - least) <= 1e-5 * least;
  }
  CHECK(nearest);
  CHECK(n <= measured && measured <= n * (k + 1));
  test_memory(x, c, n, k, d);
}

// Vectors that are nowhere: no centroid is theirs, and none behind the last is looked at.
void test_nothing_is_near(int64_t k) {
  const int64_t n = 7, d = 40;
  std::vector<float> x = normal(n * d, 3), c = normal(k * d, 4);
  for (int64_t i = 0; i < n; i += 2) {
    x[i * d + 5] = std::numeric_limits<float>::quiet_NaN();
  }
  x[d + 1] = std::numeric_limits<float>::infinity();
  for (bool far : {false, true}) {
    if (far) {
      std::fill(c.begin(), c.end(), 3e38f);  // whose distances overflow
    }
    std::vector<float> distances(n);
    std::vector<int64_t> ids(n);
    kmeans_assign({x.data(), c.data(), n, k, d, distances.data(), ids.data(), nullptr, nullptr});
    for (int64_t i = 0; i < n; i++) {
      const bool none = far || i % 2 == 0 || i == 1;
      CHECK(none ? ids[i] == -1 && distances[i] == std::numeric_limits<float>::max() : ids[i] >= 0 && ids[i] < k);
    }
  }
}

}  // namespace

int main() {
  return at_every_level([] {
    for (int64_t k : {1, 5, 16, 17, 70, 200}) {
      for (int64_t n : {1, 6, 100}) {
        test(n, k, 45, 0, 1);
      }
    }
    test(700, 40, 96, 100, 1);
    test(30, 60, 7, 0, 1000);
    test(40, 50, 700, 1, 50);   // coordinates in several chunks
    test(10, 3000, 150, 0, 1);  // centroids in several parts
    for (int64_t k : {1, 21, 64}) {
      test_nothing_is_near(k);
    }
  });
}
