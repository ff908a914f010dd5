// What searches of binary codes in lists keep: the nearest, or all within a radius.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "ops/range_search.h"

namespace metalfaiss::ops {

constexpr int64_t kHammingBlock = 1024;  // codes compared at once

struct HammingFound {
  int32_t distance;
  int64_t id;
  bool operator<(const HammingFound& o) const { return distance != o.distance ? distance < o.distance : id < o.id; }
};

// The k best, ordered by distance and id, in memory for 2 k + kSpare of them.
class HammingBest {
 public:
  explicit HammingBest(int64_t k) : k_(static_cast<size_t>(k)) { hits_.reserve(kSpare); }

  void see(int64_t n, const int32_t* distances, const int64_t* ids) {
    for (int64_t i = 0; i < n; i++) {
      if (distances[i] < worst_.distance || (distances[i] == worst_.distance && ids[i] < worst_.id)) {
        hits_.push_back({distances[i], ids[i]});
        taken_++;
        if (hits_.size() >= 2 * k_ + kSpare) {
          shrink();
        }
      }
    }
  }

  int64_t taken() const { return taken_; }

  // Where there are fewer than k, the distance is 2^31 - 1 and the id -1. Forgets them.
  void write(int32_t* distances, int64_t* ids) {
    shrink();
    std::sort(hits_.begin(), hits_.end());
    for (size_t i = 0; i < k_; i++) {
      bool there = i < hits_.size();
      distances[i] = there ? hits_[i].distance : std::numeric_limits<int32_t>::max();
      ids[i] = there ? hits_[i].id : -1;
    }
    hits_.clear();
    worst_ = {std::numeric_limits<int32_t>::max(), kAny};
    taken_ = 0;
  }

 private:
  static constexpr size_t kSpare = 64;  // so that a few are sorted seldom
  static constexpr int64_t kAny = std::numeric_limits<int64_t>::max();

  void shrink() {
    if (hits_.size() >= k_) {
      std::nth_element(hits_.begin(), hits_.begin() + static_cast<int64_t>(k_) - 1, hits_.end());
      hits_.resize(k_);
      worst_ = hits_.back();
    }
  }

  size_t k_;
  int64_t taken_ = 0;
  std::vector<HammingFound> hits_;
  HammingFound worst_{std::numeric_limits<int32_t>::max(), kAny};  // the k-th, as far as known
};

// What was found for each query, by id.
inline RangeResults collected(std::vector<std::vector<HammingFound>>& hits) {
  RangeResults out{{0}, {}, {}};
  for (auto& of_query : hits) {
    std::sort(of_query.begin(), of_query.end(),
              [](const HammingFound& a, const HammingFound& b) { return a.id < b.id; });
    for (const HammingFound& h : of_query) {
      out.distances.push_back(static_cast<float>(h.distance));
      out.ids.push_back(h.id);
    }
    out.limits.push_back(static_cast<int64_t>(out.ids.size()));
  }
  return out;
}

}  // namespace metalfaiss::ops
