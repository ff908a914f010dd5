#include "ops/ivf_limits.h"

#include <algorithm>

#include "cpu/parallel.h"

namespace metalfaiss::ops {

namespace {

constexpr int64_t kAtOnce = 1024;  // ids that a selector is asked for

int64_t count_members(const index::IdSelector* selector, const int64_t* ids, int64_t n) {
  if (!selector) {
    return n;
  }
  uint8_t member[kAtOnce];
  int64_t count = 0;
  for (int64_t first = 0; first < n; first += kAtOnce) {
    int64_t some = std::min(kAtOnce, n - first);
    selector->members(ids + first, some, member);
    count += std::count(member, member + some, uint8_t{1});
  }
  return count;
}

}  // namespace

std::vector<int64_t> probe_limits(const IvfLimits& limits, const std::vector<index::InvertedList>& lists,
                                  const index::IdSelector* selector, const int64_t* probes, int64_t nq, int64_t nprobe,
                                  int64_t k) {
  if (limits.max_codes == 0) {
    return {};
  }
  std::vector<int64_t> out(nq * nprobe);
  int64_t most = limits.ensure_topk_full ? std::max(limits.max_codes, k) : limits.max_codes;
  cpu::parallel_for(nq, [&](int64_t q) {
    int64_t seen = 0;
    for (int64_t j = q * nprobe; j < (q + 1) * nprobe && seen < most; j++) {
      if (probes[j] >= 0 && probes[j] < static_cast<int64_t>(lists.size())) {
        const index::InvertedList& list = lists[probes[j]];
        out[j] = limits.ensure_topk_full ? list.size : std::min(list.size, most - seen);
        seen += count_members(selector, list.ids(), out[j]);
      }
    }
  });
  return out;
}

}  // namespace metalfaiss::ops
