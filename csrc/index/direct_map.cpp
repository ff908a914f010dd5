#include "index/direct_map.h"

#include <string>

#include "errors.h"

namespace metalfaiss::index {

void DirectMap::set_type(Type type, const InvertedLists& lists, int64_t ntotal) {
  std::vector<int64_t> array(type == Type::array ? ntotal : 0, -1);
  std::unordered_map<int64_t, int64_t> hashtable;
  InvertedLists::Snapshot snapshot = lists.snapshot();
  for (int64_t list = 0; type != Type::none && list < lists.nlist(); list++) {
    const InvertedList& entries = (*snapshot)[list];
    for (int64_t i = 0; i < entries.size; i++) {
      int64_t id = entries.ids()[i];
      if (type == Type::hashtable) {
        hashtable[id] = pack_place(list, i);
      } else if (id < 0 || id >= ntotal) {
        throw ArgumentError("[IndexIVF.set_direct_map_type] An array needs the ids 0 to " + std::to_string(ntotal - 1) +
                            ". Received id " + std::to_string(id) + ".");
      } else {
        array[id] = pack_place(list, i);
      }
    }
  }
  restore(type, std::move(array), std::move(hashtable));
}

int64_t DirectMap::get(int64_t id) const {
  if (type_ == Type::array) {
    return id >= 0 && id < static_cast<int64_t>(array_.size()) ? array_[id] : -1;
  }
  auto at = hashtable_.find(id);
  return at == hashtable_.end() ? -1 : at->second;
}

void DirectMap::add(int64_t n, const int64_t* ids, const int64_t* places) {
  if (type_ == Type::array) {
    array_.insert(array_.end(), places, places + n);
  } else if (type_ == Type::hashtable) {
    for (int64_t i = 0; i < n; i++) {
      if (places[i] >= 0) {
        hashtable_[ids[i]] = places[i];
      }
    }
  }
}

void DirectMap::set(int64_t id, int64_t place) {
  if (type_ == Type::array) {
    array_.at(id) = place;
  } else {
    hashtable_[id] = place;
  }
}

void DirectMap::erase(int64_t id) {
  hashtable_.erase(id);
}

void DirectMap::clear() {
  array_.clear();
  hashtable_.clear();
}

void DirectMap::restore(Type type, std::vector<int64_t> array, std::unordered_map<int64_t, int64_t> hashtable) {
  type_ = type;
  array_ = std::move(array);
  hashtable_ = std::move(hashtable);
}

}  // namespace metalfaiss::index
