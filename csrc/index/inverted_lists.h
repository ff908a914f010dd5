// Inverted lists: for each of nlist cells the ids and codes of the vectors assigned to it.
//
// A snapshot never changes: any number of searches may read one while lists are changed. A list grows in place behind
// what snapshots see of it, as long as its buffer has room; every other change of a list that somebody else holds
// copies that list, and that list alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "cpu/parallel.h"

namespace metalfaiss::index {

// A list in memory of others, which is never written to.
struct BorrowedList {
  int64_t list, size;
  const int64_t* ids;
  const uint8_t* codes;
};

// Memory of one list: its own, a part of a slab, or borrowed (of a mapped file, say).
class ListBuffer {
 public:
  ListBuffer() = default;
  // Memory that `owner` keeps alive, for `capacity` entries.
  ListBuffer(uint8_t* codes, int64_t* ids, int64_t capacity, std::shared_ptr<const void> owner);
  static std::shared_ptr<ListBuffer> allocate(int64_t capacity, int64_t code_size);
  // Becomes full memory, which somebody keeps alive.
  void borrow(const BorrowedList& list);

  const uint8_t* codes() const { return codes_; }
  const int64_t* ids() const { return ids_; }
  // Of memory that is not borrowed: entries that are not in any snapshot.
  uint8_t* writable_codes() { return codes_; }
  int64_t* writable_ids() { return ids_; }
  bool borrowed() const { return borrowed_; }

  // Takes entries [size, size + n) for the caller, unless another did or there is no room.
  bool claim(int64_t size, int64_t n);

 private:
  uint8_t* codes_ = nullptr;
  int64_t* ids_ = nullptr;
  int64_t capacity_ = 0;
  std::atomic<int64_t> used_{0};
  bool borrowed_ = false;
  std::shared_ptr<const void> owner_;
};

// Memory of many lists in one piece, on huge pages: a search reads an eighth more a second of it
// (benchmarks/bench_faiss.py --only "1 query"). It lives as long as one of the lists.
class ListSlab {
 public:
  ListSlab(const std::vector<int64_t>& capacities, int64_t code_size);
  std::shared_ptr<ListBuffer> take(int64_t capacity);  // one of the capacities

 private:
  std::shared_ptr<uint8_t> memory_;
  uint8_t* next_;
  int64_t code_size_;
};

struct InvertedList {
  std::shared_ptr<ListBuffer> buffer;  // null while the list is empty
  int64_t size = 0;

  const uint8_t* codes() const { return buffer ? buffer->codes() : nullptr; }
  const int64_t* ids() const { return buffer ? buffer->ids() : nullptr; }
};

// The place of an entry, as FAISS packs it.
constexpr int64_t pack_place(int64_t list, int64_t offset) {
  return list << 32 | offset;
}
constexpr int64_t list_of(int64_t place) {
  return place >> 32;
}
constexpr int64_t offset_of(int64_t place) {
  return place & 0xffffffff;
}

class InvertedLists {
 public:
  using Snapshot = std::shared_ptr<const std::vector<InvertedList>>;
  // Writes to out, for each of n ids, whether it is meant.
  using Members = cpu::FunctionRef<void(const int64_t* ids, int64_t n, uint8_t* out)>;

  InvertedLists(int64_t nlist, int64_t code_size);  // nlist, code_size >= 0
  InvertedLists(std::vector<InvertedList> lists, int64_t code_size);
  InvertedLists(const InvertedLists& other);  // shares the lists until one of the two changes them
  InvertedLists& operator=(const InvertedLists&) = delete;

  int64_t nlist() const { return nlist_; }
  int64_t code_size() const { return code_size_; }
  Snapshot snapshot() const;
  InvertedList list(int64_t list) const { return snapshot()->at(list); }  // throws where there is none
  int64_t compute_ntotal() const;

  // Appends n entries to the lists that `assign` names (skips entries whose list is negative), in their order. Writes
  // each entry's place to `places` (-1 where skipped) unless it is null. Throws before anything has changed.
  void add(int64_t n, const int64_t* assign, const int64_t* ids, const uint8_t* codes, int64_t* places = nullptr);
  void add_entries(int64_t list, int64_t n, const int64_t* ids, const uint8_t* codes);
  void update_entries(int64_t list, int64_t offset, int64_t n, const int64_t* ids, const uint8_t* codes);
  // New entries have id -1 and a code of zeros.
  void resize(int64_t list, int64_t n);
  void reset();
  // Appends all entries of `other`, add_id added to their ids, and empties it.
  void merge_from(InvertedLists& other, int64_t add_id);
  // Removes entries; the last of a list takes the place of one that goes, as in FAISS. Returns how many went.
  int64_t remove(Members members);
  // Removes the entry at a place; the last entry of the list takes it. Returns that entry's id, or -1 if it was itself.
  int64_t remove_at(int64_t list, int64_t offset);
  // List i becomes what list order[i] was.
  void permute(const int64_t* order);
  // Lists become borrowed memory, which `owner` keeps alive.
  void borrow(std::span<const BorrowedList> lists, std::shared_ptr<const void> owner);

 private:
  std::vector<InvertedList>& writable();  // needs the mutex: copies the table of lists if a snapshot holds it
  // `list` with room for n more entries, which are claimed: what it holds is copied only where it must be. Empty lists
  // get their memory of `slab`, if there is one.
  InvertedList grown(const InvertedList& list, int64_t n, ListSlab* slab = nullptr) const;
  // A copy of its own of the first `size` entries, with room for `capacity`.
  InvertedList copied(const InvertedList& list, int64_t size, int64_t capacity) const;

  int64_t nlist_, code_size_;
  // What a change replaces is freed after this is unlocked: freeing borrowed memory may wait for Python's lock, whose
  // holder may wait for this one.
  mutable std::mutex mutex_;
  std::shared_ptr<std::vector<InvertedList>> lists_;
};

}  // namespace metalfaiss::index
