// Where the vector of an id lies in inverted lists: an array for ids 0, 1, 2, ..., or a hash table for any ids.
#pragma once

#include <unordered_map>
#include <vector>

#include "index/inverted_lists.h"

namespace metalfaiss::index {

class DirectMap {
 public:
  enum class Type { none, array, hashtable };

  Type type() const { return type_; }
  // Becomes a map of this type of what the lists hold. Throws ArgumentError where the type cannot: an array
  // needs the ids 0 to ntotal - 1, each once.
  void set_type(Type type, const InvertedLists& lists, int64_t ntotal);
  // The place of an id, or -1.
  int64_t get(int64_t id) const;
  void add(int64_t n, const int64_t* ids, const int64_t* places);
  void set(int64_t id, int64_t place);
  void erase(int64_t id);
  void clear();

  std::vector<int64_t>& array() { return array_; }
  std::unordered_map<int64_t, int64_t>& hashtable() { return hashtable_; }
  // As a file has it.
  void restore(Type type, std::vector<int64_t> array, std::unordered_map<int64_t, int64_t> hashtable);

 private:
  Type type_ = Type::none;
  std::vector<int64_t> array_;
  std::unordered_map<int64_t, int64_t> hashtable_;
};

}  // namespace metalfaiss::index
