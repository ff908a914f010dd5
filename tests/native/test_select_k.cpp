// select_k against a stable sort.
#include <algorithm>
#include <numeric>

#include "check.h"
#include "cpu/select_k.h"

using namespace metalfaiss::cpu;

namespace {

void test(int64_t n, int64_t k, bool largest, bool tied) {
  constexpr int64_t rows = 3;
  auto x = normal(rows * n, static_cast<unsigned>(n + k));
  for (float& v : x) {
    v = tied ? std::round(2 * v) : v;
  }
  std::vector<float> values(rows * k);
  std::vector<int64_t> indices(rows * k);
  int32_t shape[] = {rows};
  int64_t strides[] = {n};
  select_k({x.data(), Float::f32, rows, n, k, 1, 1, shape, strides, largest, values.data(), indices.data()});
  for (int64_t r = 0; r < rows; r++) {
    const float* row = x.data() + r * n;
    std::vector<int64_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t i, int64_t j) { return largest ? row[i] > row[j] : row[i] < row[j]; });
    bool same = true;
    for (int64_t j = 0; j < k; j++) {
      same = same && indices[r * k + j] == order[j] && values[r * k + j] == row[order[j]];
    }
    CHECK(same);
  }
}

}  // namespace

int main() {
  return at_every_level([] {
    for (int64_t n : {1, 15, 16, 17, 1000, 20000}) {
      for (int64_t k : {1, 10, 100, 1000, 20000}) {
        for (bool largest : {false, true}) {
          for (bool tied : {false, true}) {
            if (k <= n) {
              test(n, k, largest, tied);
            }
          }
        }
      }
    }
  });
}
