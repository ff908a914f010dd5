// Entries by a hash, which is some bits of their code: what IndexBinaryHash and IndexBinaryMultiHash search.
//
// Entries are kept in segments that never change, each at least kRatio times larger than the next: an entry is copied
// O(log(n)) times, and a search looks at as many segments. Whoever holds a snapshot may go on searching it.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace metalfaiss::index {

// Which entries of a segment have a hash: they lie behind each other, in the order in which they came.
class HashTable {
 public:
  struct Run {
    int64_t begin = 0, end = 0;
  };

  // `order` becomes the entries' order: that of the hashes, as each came first, and then their own. At most 2^32 - 1.
  HashTable(const std::vector<uint64_t>& hashes, std::vector<uint32_t>& order);
  // Of entries that lie so already: different hashes, and how many each has. Throws std::invalid_argument for equal
  // ones.
  HashTable(std::vector<uint64_t> keys, const std::vector<int64_t>& sizes);

  void prefetch(uint64_t hash) const { __builtin_prefetch(&slots_[place(hash)]); }
  Run find(uint64_t hash) const;  // empty where there is none
  const std::vector<uint64_t>& keys() const { return keys_; }
  Run run(int64_t key) const { return {begins_[key], begins_[key + 1]}; }

 private:
  struct Slot {
    uint64_t hash;
    uint32_t begin, end;  // equal: no hash is here
  };

  uint64_t place(uint64_t hash) const { return hash * 0x9e3779b97f4a7c15u >> shift_; }
  uint64_t slot_of(uint64_t hash) const;  // that which has it, or would
  void make_slots(uint64_t n);            // as many, with the keys' numbers in place of runs
  void number_to_run();

  std::vector<uint64_t> keys_;
  std::vector<uint32_t> begins_;
  std::vector<Slot> slots_;  // at least half of them are free
  int shift_ = 0;
};

// Entries on their way into a segment.
struct HashEntries {
  std::vector<uint64_t> hashes;
  std::vector<int64_t> ids;
  std::vector<uint8_t> codes;
};

struct HashSegment {
  int64_t n = 0;
  std::vector<HashTable> tables;
  std::vector<std::vector<int64_t>> ids;  // of the entries of each table
  std::vector<uint8_t> codes;             // of the only table's entries, if codes are kept
};

class HashTables {
 public:
  using Segments = std::vector<std::shared_ptr<const HashSegment>>;
  using Snapshot = std::shared_ptr<const Segments>;

  // `tables` hashes of `bits` bits, one behind the other; bits is from 1 to 64. Codes are kept for one table only.
  HashTables(int64_t tables, int bits, int64_t code_size, bool keeps_codes);

  int64_t tables() const { return tables_; }
  int bits() const { return bits_; }
  int64_t code_size() const { return code_size_; }
  bool keeps_codes() const { return keeps_codes_; }
  uint64_t hash(const uint8_t* code, int64_t table) const;

  Snapshot snapshot() const;
  int64_t ntotal() const;
  int64_t hashes() const;  // of all tables
  void add(int64_t n, const int64_t* ids, const uint8_t* codes);
  void reset();

  // All entries, as one segment, and for each table how FAISS goes through its hashes.
  struct Written {
    std::shared_ptr<const HashSegment> segment;
    std::vector<std::vector<int64_t>> order;
  };
  Written written() const;
  // Becomes what a file has.
  void read(std::shared_ptr<const HashSegment> segment);

 private:
  std::vector<HashEntries> merged(size_t from) const;        // needs the mutex
  const std::shared_ptr<const HashSegment>& joined() const;  // so does this: all segments as one
  std::shared_ptr<const HashSegment> built(const std::vector<HashEntries>& tables) const;

  int64_t tables_;
  int bits_;
  int64_t code_size_;
  bool keeps_codes_;
  mutable std::mutex mutex_;
  mutable Snapshot segments_ = std::make_shared<const Segments>();
  std::vector<uint64_t> buckets_;  // what std::unordered_map, which FAISS uses, has at least: its order depends on it
};

}  // namespace metalfaiss::index
