// Released buffers, kept to be used again.
#pragma once

#include <cstddef>
#include <deque>
#include <list>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

namespace metalfaiss::gpu {

// By device and size. Where they are more than `most` bytes those leave that have waited longest: sizes that a program
// no longer needs would else keep its present ones out. Any thread may call.
template <typename Buffer>  // which has a device and a size
class KeptBuffers {
 public:
  explicit KeptBuffers(size_t most) : most_(most) {}

  // The last one of that size that was released, or nullptr.
  Buffer* take(int device, size_t size) {
    std::lock_guard lock(mutex_);
    auto found = by_size_.find({device, size});
    if (found == by_size_.end() || found->second.empty()) {
      return nullptr;
    }
    auto place = found->second.back();
    Buffer* buffer = *place;
    found->second.pop_back();
    in_order_.erase(place);
    bytes_ -= size;
    return buffer;
  }

  // Keeps the buffer; those that are returned are the caller's to free.
  std::vector<Buffer*> add(Buffer* buffer) {
    if (buffer->size > most_) {
      return {buffer};
    }
    std::lock_guard lock(mutex_);
    in_order_.push_back(buffer);
    by_size_[{buffer->device, buffer->size}].push_back(std::prev(in_order_.end()));
    bytes_ += buffer->size;
    std::vector<Buffer*> out;
    while (bytes_ > most_) {
      out.push_back(remove_first());
    }
    return out;
  }

  // All of them, the caller's to free.
  std::vector<Buffer*> clear() {
    std::lock_guard lock(mutex_);
    std::vector<Buffer*> out;
    while (!in_order_.empty()) {
      out.push_back(remove_first());
    }
    return out;
  }

 private:
  Buffer* remove_first() {
    Buffer* buffer = in_order_.front();
    by_size_.at({buffer->device, buffer->size}).pop_front();  // of its size the first, too
    in_order_.pop_front();
    bytes_ -= buffer->size;
    return buffer;
  }

  const size_t most_;
  std::mutex mutex_;
  std::list<Buffer*> in_order_;  // of release
  std::map<std::pair<int, size_t>, std::deque<typename std::list<Buffer*>::iterator>> by_size_;
  size_t bytes_ = 0;
};

}  // namespace metalfaiss::gpu
