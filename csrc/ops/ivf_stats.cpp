#include "ops/ivf_stats.h"

#include <chrono>

namespace metalfaiss::ops {

namespace {

int64_t nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

IvfCounts IvfStats::get() const {
  std::lock_guard lock(mutex_);
  return total_;
}

void IvfStats::add(const IvfCounts& counts) {
  std::lock_guard lock(mutex_);
  total_.nq += counts.nq;
  total_.nlist += counts.nlist;
  total_.ndis += counts.ndis;
  total_.nheap_updates += counts.nheap_updates;
  total_.quantization_time += counts.quantization_time;
  total_.search_time += counts.search_time;
}

void IvfStats::set(const IvfCounts& counts) {
  std::lock_guard lock(mutex_);
  total_ = counts;
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
