#include "ops/ivf_stats.h"

#include <chrono>

namespace metalfaiss::ops {

namespace {

int64_t nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

IvfCounts& IvfCounts::operator+=(const IvfCounts& o) {
  nq += o.nq;
  nlist += o.nlist;
  ndis += o.ndis;
  nheap_updates += o.nheap_updates;
  quantization_time += o.quantization_time;
  search_time += o.search_time;
  return *this;
}

IvfStats& ivf_stats() {
  static IvfStats stats;
  return stats;
}

Stopwatch::Stopwatch() : began_(nanoseconds()) {}

double Stopwatch::milliseconds() const {
  return static_cast<double>(nanoseconds() - began_) * 1e-6;
}

}  // namespace metalfaiss::ops
