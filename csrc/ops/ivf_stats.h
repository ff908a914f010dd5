// What searches of inverted lists did, all together: FAISS's indexIVF_stats.
#pragma once

#include <cstdint>

#include "ops/totals.h"

namespace metalfaiss::ops {

struct IvfCounts {
  int64_t nq = 0, nlist = 0, ndis = 0, nheap_updates = 0;
  double quantization_time = 0, search_time = 0;  // milliseconds

  IvfCounts& operator+=(const IvfCounts& o);
};

using IvfStats = Totals<IvfCounts>;

// That of the process: every search adds to it once, when it runs.
IvfStats& ivf_stats();

// Milliseconds since it was made.
class Stopwatch {
 public:
  Stopwatch();
  double milliseconds() const;

 private:
  int64_t began_;  // nanoseconds
};

}  // namespace metalfaiss::ops
