// How much of the lists that it probes a query looks at.
#pragma once

#include <vector>

#include "index/id_selector.h"
#include "index/inverted_lists.h"

namespace metalfaiss::ops {

struct IvfLimits {
  int64_t max_codes = 0;                 // distances a query computes, at most; 0: any number
  bool ensure_topk_full = false;         // max_codes is at least k, and ends a search between lists only
  int64_t max_empty_result_buckets = 0;  // of a range search: lists without a result, one after another; 0: any number
};

// How many of its first entries are looked at of each of probes (nq, nprobe); none where max_codes is no limit. As in
// FAISS, entries that `selector` leaves out do not count, but those behind what is left of max_codes are not looked at.
std::vector<int64_t> probe_limits(const IvfLimits& limits, const std::vector<index::InvertedList>& lists,
                                  const index::IdSelector* selector, const int64_t* probes, int64_t nq, int64_t nprobe,
                                  int64_t k);

}  // namespace metalfaiss::ops
