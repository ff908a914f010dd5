// Which ids take part in a search or are removed.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace metalfaiss::index {

// Immutable: any number of threads may ask it at once.
class IdSelector {
 public:
  virtual ~IdSelector() = default;
  virtual bool member(int64_t id) const = 0;
  // out[i] = member(ids[i]), 0 or 1.
  virtual void members(const int64_t* ids, int64_t n, uint8_t* out) const;
  // The members among 0, ..., n - 1, ascending. Selectors that hold a few ids take time for those only.
  virtual std::vector<int64_t> positions(int64_t n) const;
};

using IdSelectorPtr = std::shared_ptr<const IdSelector>;

IdSelectorPtr select_all();
IdSelectorPtr select_range(int64_t first, int64_t last);  // first <= id < last
IdSelectorPtr select_ids(const int64_t* ids, int64_t n);
// id is a member where bit id % 8 of byte id / 8 is set; ids past the last byte and negative ones are not.
IdSelectorPtr select_bitmap(const uint8_t* bytes, int64_t n);
IdSelectorPtr select_not(IdSelectorPtr a);
IdSelectorPtr select_and(IdSelectorPtr a, IdSelectorPtr b);
IdSelectorPtr select_or(IdSelectorPtr a, IdSelectorPtr b);
IdSelectorPtr select_xor(IdSelectorPtr a, IdSelectorPtr b);
// Position i is a member where map[i] is one of a's; positions outside of the map are not.
IdSelectorPtr select_translated(std::shared_ptr<const std::vector<int64_t>> map, IdSelectorPtr a);

}  // namespace metalfaiss::index
