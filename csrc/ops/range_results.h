// Collects what the threads of a search by distance find, block by block.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "cpu/range_search.h"
#include "ops/range_search.h"

namespace metalfaiss::ops {

class RangeCollector {
 public:
  RangeCollector() : blocks_(cpu::kRangeBlocks) {}

  // From one thread at a time for one block.
  void add(int64_t block, const cpu::RangeHit* hits, int64_t n) {
    blocks_[block].insert(blocks_[block].end(), hits, hits + n);
  }

  RangeResults results(int64_t num_queries) {
    RangeResults out;
    out.limits.assign(num_queries + 1, 0);
    for (const auto& block : blocks_) {
      for (const auto& hit : block) {
        out.limits[hit.query + 1]++;
      }
    }
    std::partial_sum(out.limits.begin(), out.limits.end(), out.limits.begin());
    out.distances.resize(out.limits.back());
    out.ids.resize(out.limits.back());
    std::vector<int64_t> at(out.limits.begin(), out.limits.end() - 1);
    for (auto& block : blocks_) {
      for (const auto& hit : block) {
        out.distances[at[hit.query]] = hit.distance;
        out.ids[at[hit.query]++] = hit.id;
      }
      std::vector<cpu::RangeHit>().swap(block);
    }
    for (int64_t q = 0; q < num_queries; q++) {
      sort_by_id(out, out.limits[q], out.limits[q + 1]);
    }
    return out;
  }

 private:
  // Most are sorted already: blocks are, but for rows too large for float32 arithmetic.
  static void sort_by_id(RangeResults& out, int64_t first, int64_t last) {
    auto ids = out.ids.begin();
    if (std::is_sorted(ids + first, ids + last)) {
      return;
    }
    std::vector<std::pair<int64_t, float>> pairs;
    for (int64_t i = first; i < last; i++) {
      pairs.emplace_back(out.ids[i], out.distances[i]);
    }
    std::sort(pairs.begin(), pairs.end());
    for (int64_t i = first; i < last; i++) {
      out.ids[i] = pairs[i - first].first;
      out.distances[i] = pairs[i - first].second;
    }
  }

  std::vector<std::vector<cpu::RangeHit>> blocks_;
};

}  // namespace metalfaiss::ops
