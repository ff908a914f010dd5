// Search of binary codes by hashes, with up to nflip bits of them changed.
#pragma once

#include <optional>
#include <utility>

#include "index/hash_tables.h"
#include "index/id_selector.h"
#include "ops/common.h"
#include "ops/range_search.h"
#include "ops/totals.h"

namespace metalfaiss::ops {

// FAISS's counts. n0, hashes that nothing has, is counted for tables without codes only.
struct HashCounts {
  int64_t nq = 0, n0 = 0, nlist = 0, ndis = 0;

  HashCounts& operator+=(const HashCounts& o);
};
using HashStats = Totals<HashCounts>;

// That of the process: every search adds to it once, when it runs.
HashStats& hash_stats();

// What is searched: the tables as they are now, how many bits of a hash may differ, the ids that take part (null: all).
struct HashSource {
  std::shared_ptr<const index::HashTables> tables;  // for its form
  index::HashTables::Snapshot segments;
  int64_t nflip;
  index::IdSelectorPtr selector;
};

// Codes that lie in memory of others, by id: of tables that keep none. Others pass {nullptr, 0}.
struct StoredCodes {
  const uint8_t* codes;
  int64_t n;
};

// The k nearest of those found, ordered by distance and id, for queries (nq, code_size): at once, on any threads.
void search_hash(const HashSource& source, StoredCodes stored, const uint8_t* queries, int64_t nq, int64_t k,
                 int32_t* distances, int64_t* ids);
RangeResults range_search_hash(const HashSource& source, StoredCodes stored, const uint8_t* queries, int64_t nq,
                               int64_t radius);

// The same as lazy arrays: distances (nq, k), int32, and ids (nq, k), int64. `codes`, uint8 (n, code_size), for tables
// that keep none.
std::pair<mx::array, mx::array> search_hash(const mx::array& xq, int64_t k, const HashSource& source,
                                            const std::optional<mx::array>& codes, mx::StreamOrDevice s = {});

}  // namespace metalfaiss::ops
