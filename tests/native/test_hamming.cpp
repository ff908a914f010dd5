// Hamming distances against a loop over bits.
#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "check.h"
#include "cpu/hamming.h"

using namespace metalfaiss::cpu;

namespace {

std::vector<uint8_t> codes(size_t bytes, unsigned seed) {
  std::mt19937 engine(seed);
  std::vector<uint8_t> x(bytes);
  for (uint8_t& v : x) {
    v = static_cast<uint8_t>(engine() >> 8 & engine() >> 8);  // many ties
  }
  return x;
}

int32_t distance(const uint8_t* a, const uint8_t* b, int64_t bytes) {
  int32_t ones = 0;
  for (int64_t i = 0; i < bytes; i++) {
    ones += std::popcount(static_cast<unsigned>(a[i] ^ b[i]));
  }
  return ones;
}

void test(int64_t nq, int64_t n, int64_t bytes, int64_t k, bool filtered) {
  auto queries = codes(nq * bytes, 1), base = codes(n * bytes, 2);
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < n; i++) {
    if (!filtered || i % 3 == 1) {
      rows.push_back(i);
    }
  }
  auto m = static_cast<int64_t>(rows.size());
  HammingArgs g{queries.data(), nq, base.data(), filtered ? rows.data() : nullptr, m, bytes};
  std::vector<int32_t> distances(nq * k), all(nq * m);
  std::vector<int64_t> ids(nq * k);
  knn_hamming({g, k, distances.data(), ids.data()});
  hammings({g, all.data()});
  std::vector<HammingHit> hits;
  int64_t radius = bytes * 3;
  range_hamming({g, radius,
                 [](void* to, const HammingHit* h, int64_t count) {
                   auto& v = *static_cast<std::vector<HammingHit>*>(to);
                   v.insert(v.end(), h, h + count);
                 },
                 &hits});
  bool same = true;
  for (int64_t q = 0; q < nq; q++) {
    std::vector<int32_t> d(m);
    size_t within = 0;
    for (int64_t i = 0; i < m; i++) {
      d[i] = distance(queries.data() + q * bytes, base.data() + rows[i] * bytes, bytes);
      same = same && d[i] == all[q * m + i];
      within += d[i] < radius;
    }
    std::vector<int64_t> order(m);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return d[i] < d[j]; });
    for (int64_t j = 0; j < k; j++) {
      same = same && ids[q * k + j] == (j < m ? rows[order[j]] : -1);
      same = same && distances[q * k + j] == (j < m ? d[order[j]] : 0x7fffffff);
    }
    size_t seen = 0;
    int64_t last = -1;
    for (const HammingHit& h : hits) {
      if (h.query == q) {
        seen++;
        same = same && h.id > last && h.distance < radius &&
               h.distance == distance(queries.data() + q * bytes, base.data() + h.id * bytes, bytes);
        last = h.id;
      }
    }
    same = same && seen == within;
  }
  CHECK(same);
}

}  // namespace

int main() {
  return at_every_level([] {
    for (int64_t bytes : {1, 3, 8, 16, 20, 32, 33, 64, 100, 8192}) {
      for (int64_t nq : {1, 11}) {
        for (int64_t n : {1, 15, 257, 1100}) {
          if (bytes < 8192 || n < 100) {
            test(nq, n, bytes, 7, n == 257);
          }
        }
      }
    }
    test(3, 40000, 16, 50, false);    // divided between threads
    test(20, 40000, 16, 1000, true);  // with many dropped on the way
    test(2, 0, 8, 3, false);
  });
}
