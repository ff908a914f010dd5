#include "index/id_selector.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace metalfaiss::index {

void IdSelector::members(const int64_t* ids, int64_t n, uint8_t* out) const {
  for (int64_t i = 0; i < n; i++) {
    out[i] = member(ids[i]);
  }
}

std::vector<int64_t> IdSelector::positions(int64_t n) const {
  std::vector<int64_t> found;
  for (int64_t i = 0; i < n; i++) {
    if (member(i)) {
      found.push_back(i);
    }
  }
  return found;
}

namespace {

class All final : public IdSelector {
 public:
  bool member(int64_t) const override { return true; }
};

class Range final : public IdSelector {
 public:
  Range(int64_t first, int64_t last) : first_(first), last_(last) {}
  bool member(int64_t id) const override { return first_ <= id && id < last_; }
  void members(const int64_t* ids, int64_t n, uint8_t* out) const override {
    for (int64_t i = 0; i < n; i++) {
      out[i] = (first_ <= ids[i]) & (ids[i] < last_);
    }
  }
  std::vector<int64_t> positions(int64_t n) const override {
    std::vector<int64_t> found;
    for (int64_t i = std::max<int64_t>(first_, 0); i < std::min(last_, n); i++) {
      found.push_back(i);
    }
    return found;
  }

 private:
  int64_t first_, last_;
};

// Sorted distinct ids.
std::vector<int64_t> sorted_ids(const int64_t* ids, int64_t n) {
  std::vector<int64_t> sorted(ids, ids + n);
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  return sorted;
}

std::vector<int64_t> those_below(const std::vector<int64_t>& sorted, int64_t n) {
  return {std::lower_bound(sorted.begin(), sorted.end(), 0), std::lower_bound(sorted.begin(), sorted.end(), n)};
}

// Ids that lie close together: a bit for each from the first to the last.
class Dense final : public IdSelector {
 public:
  explicit Dense(std::vector<int64_t> sorted) : sorted_(std::move(sorted)) {
    first_ = sorted_.front();
    range_ = static_cast<uint64_t>(sorted_.back()) - first_ + 1;
    bits_.resize(range_ / 64 + 1);
    for (int64_t id : sorted_) {
      uint64_t at = static_cast<uint64_t>(id) - first_;
      bits_[at / 64] |= uint64_t{1} << (at % 64);
    }
  }
  bool member(int64_t id) const override {
    uint64_t at = static_cast<uint64_t>(id) - first_;
    return at < range_ && (bits_[at / 64] >> (at % 64) & 1);
  }
  void members(const int64_t* ids, int64_t n, uint8_t* out) const override {
    for (int64_t i = 0; i < n; i++) {
      uint64_t at = static_cast<uint64_t>(ids[i]) - first_, within = at < range_ ? at : 0;
      out[i] = (at < range_) & (bits_[within / 64] >> (within % 64) & 1);
    }
  }
  std::vector<int64_t> positions(int64_t n) const override { return those_below(sorted_, n); }

 private:
  std::vector<int64_t> sorted_;
  std::vector<uint64_t> bits_;
  uint64_t first_, range_;
};

// Any ids: open addressing at a load of at most a half, 16 bits of a bit table ahead of it.
class Hashed final : public IdSelector {
 public:
  explicit Hashed(std::vector<int64_t> sorted) : sorted_(std::move(sorted)) {
    while ((int64_t{1} << log2_) < 2 * static_cast<int64_t>(sorted_.size())) {
      log2_++;
    }
    slots_.resize(size_t{1} << log2_);
    used_.resize((size_t{1} << log2_) / 64 + 1);
    for (int64_t id : sorted_) {
      uint64_t at = hash(id);
      while (taken(at)) {
        at = next(at);
      }
      slots_[at] = id;
      used_[at / 64] |= uint64_t{1} << (at % 64);
    }
  }
  bool member(int64_t id) const override {
    for (uint64_t at = hash(id); taken(at); at = next(at)) {
      if (slots_[at] == id) {
        return true;
      }
    }
    return false;
  }
  void members(const int64_t* ids, int64_t n, uint8_t* out) const override {
    for (int64_t i = 0; i < n; i++) {
      out[i] = Hashed::member(ids[i]);
    }
  }
  std::vector<int64_t> positions(int64_t n) const override { return those_below(sorted_, n); }

 private:
  // Fibonacci hashing: the golden ratio spreads arithmetic progressions evenly.
  uint64_t hash(int64_t id) const { return static_cast<uint64_t>(id) * 0x9e3779b97f4a7c15u >> (64 - log2_); }
  uint64_t next(uint64_t at) const { return (at + 1) & ((uint64_t{1} << log2_) - 1); }
  bool taken(uint64_t at) const { return used_[at / 64] >> (at % 64) & 1; }

  std::vector<int64_t> sorted_, slots_;
  std::vector<uint64_t> used_;
  int log2_ = 4;
};

class Bitmap final : public IdSelector {
 public:
  Bitmap(const uint8_t* bytes, int64_t n) : bytes_(bytes, bytes + n) {}
  bool member(int64_t id) const override {
    uint64_t at = static_cast<uint64_t>(id);
    return at / 8 < bytes_.size() && (bytes_[at / 8] >> (at % 8) & 1);
  }
  void members(const int64_t* ids, int64_t n, uint8_t* out) const override {
    for (int64_t i = 0; i < n; i++) {
      out[i] = Bitmap::member(ids[i]);
    }
  }

 private:
  std::vector<uint8_t> bytes_;
};

class Not final : public IdSelector {
 public:
  explicit Not(IdSelectorPtr a) : a_(std::move(a)) {}
  bool member(int64_t id) const override { return !a_->member(id); }
  void members(const int64_t* ids, int64_t n, uint8_t* out) const override {
    a_->members(ids, n, out);
    for (int64_t i = 0; i < n; i++) {
      out[i] ^= 1;
    }
  }

 private:
  IdSelectorPtr a_;
};

// Both of two selectors through Combine, a function of their bytes.
template <typename Combine>
class Both final : public IdSelector {
 public:
  Both(IdSelectorPtr a, IdSelectorPtr b) : a_(std::move(a)), b_(std::move(b)) {}
  bool member(int64_t id) const override { return Combine{}(uint8_t{a_->member(id)}, uint8_t{b_->member(id)}); }
  void members(const int64_t* ids, int64_t n, uint8_t* out) const override {
    constexpr int64_t kBlock = 1024;
    uint8_t other[kBlock];
    for (int64_t i = 0; i < n; i += kBlock) {
      int64_t m = std::min(kBlock, n - i);
      a_->members(ids + i, m, out + i);
      b_->members(ids + i, m, other);
      for (int64_t j = 0; j < m; j++) {
        out[i + j] = static_cast<uint8_t>(Combine{}(out[i + j], other[j]));
      }
    }
  }

 private:
  IdSelectorPtr a_, b_;
};

class Translated final : public IdSelector {
 public:
  Translated(std::shared_ptr<const std::vector<int64_t>> map, IdSelectorPtr a)
      : map_(std::move(map)), a_(std::move(a)) {}
  bool member(int64_t id) const override { return static_cast<uint64_t>(id) < map_->size() && a_->member((*map_)[id]); }
  std::vector<int64_t> positions(int64_t n) const override {
    n = std::min<int64_t>(n, map_->size());
    std::vector<uint8_t> in(n);
    a_->members(map_->data(), n, in.data());
    std::vector<int64_t> found;
    for (int64_t i = 0; i < n; i++) {
      if (in[i]) {
        found.push_back(i);
      }
    }
    return found;
  }

 private:
  std::shared_ptr<const std::vector<int64_t>> map_;
  IdSelectorPtr a_;
};

}  // namespace

IdSelectorPtr select_all() {
  return std::make_shared<All>();
}

IdSelectorPtr select_range(int64_t first, int64_t last) {
  return std::make_shared<Range>(first, last);
}

IdSelectorPtr select_ids(const int64_t* ids, int64_t n) {
  std::vector<int64_t> sorted = sorted_ids(ids, n);
  if (sorted.empty()) {
    return select_range(0, 0);
  }
  constexpr uint64_t kBitsPerId = 256;  // up to here a bit table takes no more memory than hashing
  uint64_t range = static_cast<uint64_t>(sorted.back()) - static_cast<uint64_t>(sorted.front());
  if (range / kBitsPerId <= sorted.size()) {
    return std::make_shared<Dense>(std::move(sorted));
  }
  return std::make_shared<Hashed>(std::move(sorted));
}

IdSelectorPtr select_bitmap(const uint8_t* bytes, int64_t n) {
  return std::make_shared<Bitmap>(bytes, n);
}

IdSelectorPtr select_not(IdSelectorPtr a) {
  return std::make_shared<Not>(std::move(a));
}

IdSelectorPtr select_and(IdSelectorPtr a, IdSelectorPtr b) {
  return std::make_shared<Both<std::bit_and<>>>(std::move(a), std::move(b));
}

IdSelectorPtr select_or(IdSelectorPtr a, IdSelectorPtr b) {
  return std::make_shared<Both<std::bit_or<>>>(std::move(a), std::move(b));
}

IdSelectorPtr select_xor(IdSelectorPtr a, IdSelectorPtr b) {
  return std::make_shared<Both<std::bit_xor<>>>(std::move(a), std::move(b));
}

IdSelectorPtr select_translated(std::shared_ptr<const std::vector<int64_t>> map, IdSelectorPtr a) {
  return std::make_shared<Translated>(std::move(map), std::move(a));
}

}  // namespace metalfaiss::index
