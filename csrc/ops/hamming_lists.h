// Search of binary codes in inverted lists, by Hamming distance.
#pragma once

#include <tuple>
#include <utility>

#include "index/id_selector.h"
#include "index/inverted_lists.h"
#include "ops/common.h"

namespace metalfaiss::ops {

// What is searched: the lists as they are now, the ids that take part (null: all), and how many codes a query is
// compared with at most (0: any).
struct HammingLists {
  index::InvertedLists::Snapshot lists;
  int64_t code_size;
  index::IdSelectorPtr selector;
  int64_t max_codes;
};

// Distances (nq, k), int32, and ids (nq, k), int64, of the codes nearest to each of xq (nq, code_size), uint8, in the
// lists that probes (nq, nprobe), int64, name; negative ones name none. Equal distances are ordered by id.
std::pair<mx::array, mx::array> search_hamming_lists(const mx::array& xq, const mx::array& probes, int64_t k,
                                                     const HammingLists& lists, mx::StreamOrDevice s = {});

// What is nearer than `radius`: limits (nq + 1,), distances, float32, and ids, ascending. Evaluates and runs at once.
std::tuple<mx::array, mx::array, mx::array> range_search_hamming_lists(const mx::array& xq, const mx::array& probes,
                                                                       int64_t radius, const HammingLists& lists);

}  // namespace metalfaiss::ops
