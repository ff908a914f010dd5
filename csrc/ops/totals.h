// Counts of what searches did, all together. Any number of threads may add to one at once.
#pragma once

#include <mutex>

namespace metalfaiss::ops {

template <typename Counts>
class Totals {
 public:
  Counts get() const {
    std::lock_guard lock(mutex_);
    return total_;
  }
  void add(const Counts& counts) {
    std::lock_guard lock(mutex_);
    total_ += counts;
  }
  void set(const Counts& counts) {
    std::lock_guard lock(mutex_);
    total_ = counts;
  }

 private:
  mutable std::mutex mutex_;
  Counts total_;
};

}  // namespace metalfaiss::ops
