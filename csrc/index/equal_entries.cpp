#include "index/equal_entries.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "cpu/parallel.h"

namespace metalfaiss::index {

namespace {

// The new entries of one list, sorted by how their codes begin: of most others that tells them apart.
class NewEntries {
 public:
  NewEntries(const int64_t* first, const int64_t* last, const uint8_t* codes, int64_t code_size)
      : codes_(codes), code_size_(code_size) {
    for (const int64_t* entry = first; entry != last; entry++) {
      heads_.push_back({head_of(code(*entry)), *entry});
    }
    std::sort(heads_.begin(), heads_.end());
  }

  void find_in(const InvertedList& list, EqualEntries& out) const {
    for (int64_t i = 0; i < list.size; i++) {
      const uint8_t* stored = list.codes() + i * code_size_;
      const uint64_t head = head_of(stored);
      auto at = std::lower_bound(heads_.begin(), heads_.end(), Head{head, 0});
      for (; at != heads_.end() && at->first == head; at++) {
        if (!out.again[at->second] && same(stored, code(at->second))) {
          out.again[at->second] = 1;
          out.ids[at->second] = list.ids()[i];
        }
      }
    }
  }

  void find_among_themselves(EqualEntries& out) const {
    for (auto at = heads_.begin(); at != heads_.end(); at++) {
      for (auto later = at + 1; !out.again[at->second] && later != heads_.end() && later->first == at->first; later++) {
        if (!out.again[later->second] && same(code(at->second), code(later->second))) {
          out.again[later->second] = 1;
          out.ids[later->second] = out.ids[at->second];
        }
      }
    }
  }

 private:
  using Head = std::pair<uint64_t, int64_t>;

  const uint8_t* code(int64_t entry) const { return codes_ + entry * code_size_; }
  bool same(const uint8_t* a, const uint8_t* b) const { return std::memcmp(a, b, code_size_) == 0; }
  uint64_t head_of(const uint8_t* code) const {
    uint64_t head = 0;
    std::memcpy(&head, code, std::min<int64_t>(code_size_, sizeof head));
    return head;
  }

  const uint8_t* codes_;
  int64_t code_size_;
  std::vector<Head> heads_;
};

}  // namespace

EqualEntries equal_entries(const InvertedLists& lists, int64_t n, const int64_t* assign, const int64_t* ids,
                           const uint8_t* codes) {
  EqualEntries out{std::vector<uint8_t>(n), std::vector<int64_t>(ids, ids + n)};
  std::vector<int64_t> order(n), starts;
  std::iota(order.begin(), order.end(), 0);
  auto belongs = [&](int64_t i) { return assign[i] >= 0 && assign[i] < lists.nlist(); };
  order.erase(std::remove_if(order.begin(), order.end(), [&](int64_t i) { return !belongs(i); }), order.end());
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return assign[a] < assign[b]; });
  const auto count = static_cast<int64_t>(order.size());
  for (int64_t i = 0; i < count; i++) {
    if (i == 0 || assign[order[i]] != assign[order[i - 1]]) {
      starts.push_back(i);
    }
  }
  starts.push_back(count);
  InvertedLists::Snapshot snapshot = lists.snapshot();
  cpu::parallel_for(static_cast<int64_t>(starts.size()) - 1, [&](int64_t group) {
    const int64_t *first = order.data() + starts[group], *last = order.data() + starts[group + 1];
    const NewEntries entries(first, last, codes, lists.code_size());
    entries.find_in((*snapshot)[assign[*first]], out);
    entries.find_among_themselves(out);
  });
  return out;
}

}  // namespace metalfaiss::index
