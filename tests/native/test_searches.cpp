// Searches by distance, and by metrics other than L2 and inner products, against plain sums.
#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "check.h"
#include "cpu/extra_metrics.h"
#include "cpu/range_search.h"

using namespace metalfaiss::cpu;

namespace {

using Pairs = std::set<std::pair<int64_t, int64_t>>;

double distance(const float* x, const float* y, int64_t d, bool l1) {
  double sum = 0;
  for (int64_t i = 0; i < d; i++) {
    double difference = double{x[i]} - y[i];
    sum += l1 ? std::abs(difference) : difference * difference;
  }
  return sum;
}

// Hits of a block come from one thread: a list for each is safe.
struct Hits {
  std::vector<std::vector<RangeHit>> blocks{kRangeBlocks};
  void operator()(int64_t block, const RangeHit* hits, int64_t n) const {
    auto& list = const_cast<std::vector<RangeHit>&>(blocks[block]);
    list.insert(list.end(), hits, hits + n);
  }
  Pairs pairs() const {
    Pairs out;
    for (auto& block : blocks) {
      for (auto& hit : block) {
        out.insert({hit.query, hit.id});
      }
    }
    return out;
  }
};

void test_range(int64_t nq, int64_t nb, int64_t d) {
  auto queries = normal(nq * d, 1), rows = normal(nb * d, 2);
  float radius = 2 * d;
  Pairs near;
  for (int64_t q = 0; q < nq; q++) {
    for (int64_t j = 0; j < nb; j += 2) {
      if (static_cast<float>(distance(&queries[q * d], &rows[j * d], d, false)) < radius) {
        near.insert({q, j});
      }
    }
  }
  std::vector<int64_t> even;
  for (int64_t j = 0; j < nb; j += 2) {
    even.push_back(j);
  }
  Matrix database = row_major(rows, static_cast<int64_t>(even.size()), d);
  database.picked = even.data();
  Hits hits;
  range_search({row_major(queries, nq, d), database, radius, false, hits});
  CHECK(hits.pairs() == near);
}

void test_l1(int64_t nq, int64_t nb, int64_t d, int64_t k) {
  auto queries = normal(nq * d, 1), rows = normal(nb * d, 2);
  std::vector<float> distances(nq * k), all(nq * nb);
  std::vector<int64_t> ids(nq * k);
  ExtraMetricArgs args{ExtraMetric::l1,
                       0,
                       row_major(queries, nq, d),
                       row_major(rows, nb, d),
                       nullptr,
                       k,
                       distances.data(),
                       ids.data(),
                       0,
                       nullptr};
  extra_metrics(args);
  args.distances = nullptr;
  args.all = all.data();
  extra_metrics(args);
  bool same = true;
  for (int64_t q = 0; q < nq; q++) {
    for (int64_t j = 0; j < nb; j++) {
      double want = distance(&queries[q * d], &rows[j * d], d, true);
      same = same && std::abs(all[q * nb + j] - want) <= 1e-5 * want;
    }
    std::vector<float> sorted(all.begin() + q * nb, all.begin() + (q + 1) * nb);
    std::sort(sorted.begin(), sorted.end());
    for (int64_t j = 0; j < k; j++) {
      int64_t id = ids[q * k + j];
      same = same && (j < nb ? distances[q * k + j] == sorted[j] && all[q * nb + id] == sorted[j] : id == -1);
    }
  }
  CHECK(same);
}

}  // namespace

int main() {
  return at_every_level([] {
    for (int64_t nq : {1, 3, 20}) {
      for (int64_t nb : {1, 17, 700}) {
        for (int64_t d : {1, 9, 40}) {
          test_range(nq, nb, d);
          test_l1(nq, nb, d, 7);
        }
      }
    }
    test_l1(300, 2000, 3, 1500);  // more results than the scratch memory holds at once
  });
}
