// Which of new entries inverted lists hold already, under another id.
#pragma once

#include <vector>

#include "index/inverted_lists.h"

namespace metalfaiss::index {

struct EqualEntries {
  std::vector<uint8_t> again;  // of each new entry: whether its list, or a new entry before it, has its code
  std::vector<int64_t> ids;    // and under which id first; what is new keeps its own
};

EqualEntries equal_entries(const InvertedLists& lists, int64_t n, const int64_t* assign, const int64_t* ids,
                           const uint8_t* codes);

}  // namespace metalfaiss::index
