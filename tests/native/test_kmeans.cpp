// K-means: sketches bound distances from below, and the assignment by them is the nearest centroid in float64.
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

struct Sketches {
  std::vector<int16_t> codes;
  std::vector<float> scales;

  Sketches(const std::vector<float>& x, const std::vector<float>& mean, const float* basis, int64_t d, int64_t p)
      : codes(x.size() / d * kmeans_sketch_width(p, basis)), scales(x.size() / d * 2) {
    const auto n = static_cast<int64_t>(x.size()) / d;
    kmeans_sketch({x.data(), mean.data(), basis, n, d, p, codes.data(), scales.data()});
  }
  KmeansSketches view() const { return {codes.data(), scales.data()}; }
};

double distance(const float* a, const float* b, int64_t d) {
  double sum = 0;
  for (int64_t i = 0; i < d; i++) {
    sum += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
  }
  return sum;
}

// Whether no sketch is farther from a centroid's than the vector is, but for both errors.
bool bounds_from_below(const Sketches& x, const Sketches& c, const std::vector<double>& exact, int64_t width) {
  const int64_t k = c.scales.size() / 2;
  bool below = true;
  for (size_t pair = 0; pair < exact.size(); pair++) {
    const int64_t i = pair / k, j = pair % k;
    double sum = 0;
    for (int64_t p = 0; p < width; p++) {
      const double difference =
          double{x.scales[2 * i]} * x.codes[i * width + p] - double{c.scales[2 * j]} * c.codes[j * width + p];
      sum += difference * difference;
    }
    below = below && std::sqrt(sum) <= std::sqrt(exact[pair]) + x.scales[2 * i + 1] + c.scales[2 * j + 1];
  }
  return below;
}

void test(int64_t n, int64_t k, int64_t d, int64_t p, float offset) {
  auto x = around(offset, n * d, 1), c = around(offset, k * d, 2);
  const std::vector<float> mean(d, offset);
  std::vector<float> unit(d * p);  // the first p coordinates
  for (int64_t i = 0; i < p; i++) {
    unit[i * p + i] = 1;
  }
  std::vector<double> exact(n * k);
  for (int64_t pair = 0; pair < n * k; pair++) {
    exact[pair] = distance(&x[pair / k * d], &c[pair % k * d], d);
  }
  const float* const bases[] = {unit.data(), nullptr};
  for (const float* basis : bases) {
    const int64_t taken = basis ? p : d, width = kmeans_sketch_width(taken, basis);
    const Sketches sx(x, mean, basis, d, taken), sc(c, mean, basis, d, taken);
    CHECK(bounds_from_below(sx, sc, exact, width));
    for (int64_t lead : {int64_t{1}, p, width}) {
      for (int64_t guess : {int64_t{-2}, k - 1}) {  // none, or a bad one
        const std::vector<int64_t> guesses(n, guess);
        std::vector<float> distances(n);
        std::vector<int64_t> ids(n);
        kmeans_assign({x.data(), c.data(), sx.view(), sc.view(), guess < 0 ? nullptr : guesses.data(), n, k, d, width,
                       lead, distances.data(), ids.data(), nullptr});
        bool nearest = true;
        for (int64_t i = 0; i < n; i++) {
          const double least = *std::min_element(&exact[i * k], &exact[i * k] + k);
          nearest = nearest && ids[i] >= 0 && ids[i] < k && exact[i * k + ids[i]] <= least * (1 + 1e-5);
          nearest = nearest && std::abs(distances[i] - least) <= 1e-5 * least;
        }
        CHECK(nearest);
      }
    }
  }
}

// Vectors that are nowhere: no centroid is theirs, and none behind the last is looked at.
void test_nothing_is_near(int64_t k) {
  const int64_t n = 7, d = 40;
  std::vector<float> x = normal(n * d, 3), c = normal(k * d, 4);
  const std::vector<float> mean(d);
  for (int64_t i = 0; i < n; i += 2) {
    x[i * d + 5] = std::numeric_limits<float>::quiet_NaN();
  }
  x[d + 1] = std::numeric_limits<float>::infinity();
  for (bool far : {false, true}) {
    if (far) {
      std::fill(c.begin(), c.end(), 3e38f);  // whose distances overflow
    }
    const Sketches sx(x, mean, nullptr, d, d), sc(c, mean, nullptr, d, d);
    std::vector<float> distances(n);
    std::vector<int64_t> ids(n);
    for (int64_t lead : {3, 64}) {
      kmeans_assign({x.data(), c.data(), sx.view(), sc.view(), nullptr, n, k, d, 64, lead, distances.data(), ids.data(),
                     nullptr});
      for (int64_t i = 0; i < n; i++) {
        const bool none = far || i % 2 == 0 || i == 1;
        CHECK(none ? ids[i] == -1 && distances[i] == std::numeric_limits<float>::max() : ids[i] >= 0 && ids[i] < k);
      }
    }
  }
}

}  // namespace

int main() {
  return at_every_level([] {
    for (int64_t k : {1, 5, 16, 17, 70, 200}) {
      for (int64_t n : {1, 6, 100}) {
        test(n, k, 45, 11, 0);
      }
    }
    test(700, 40, 96, 31, 100);
    test(10, 1500, 150, 63, 0);  // centroids in several parts
    for (int64_t k : {1, 21, 64}) {
      test_nothing_is_near(k);
    }
  });
}
