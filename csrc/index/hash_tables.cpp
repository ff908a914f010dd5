#include "index/hash_tables.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>

#include "cpu/parallel.h"

namespace metalfaiss::index {

namespace {

constexpr int64_t kRatio = 4;

// As FAISS has them, once these hashes have come in this order.
std::unordered_map<int64_t, int64_t> faiss_map(const std::vector<uint64_t>& hashes, uint64_t buckets) {
  std::unordered_map<int64_t, int64_t> map;
  if (buckets) {
    map.rehash(buckets);
  }
  for (size_t i = 0; i < hashes.size(); i++) {
    map[static_cast<int64_t>(hashes[i])] = static_cast<int64_t>(i);
  }
  return map;
}

void require_room(int64_t n) {
  if (n >= std::numeric_limits<uint32_t>::max()) {
    throw std::length_error("[IndexBinaryHash.add] There must be fewer than 2^32 - 1 entries. Received " +
                            std::to_string(n) + ".");
  }
}

}  // namespace

HashTable::HashTable(const std::vector<uint64_t>& hashes, std::vector<uint32_t>& order) {
  require_room(static_cast<int64_t>(hashes.size()));
  make_slots(16);
  std::vector<uint32_t> key_of(hashes.size()), at;
  for (size_t i = 0; i < hashes.size(); i++) {
    Slot* slot = &slots_[slot_of(hashes[i])];
    if (slot->begin == slot->end) {
      if (2 * (keys_.size() + 1) > slots_.size()) {
        make_slots(2 * slots_.size());
        slot = &slots_[slot_of(hashes[i])];
      }
      auto key = static_cast<uint32_t>(keys_.size());
      *slot = {hashes[i], key, key + 1};
      keys_.push_back(hashes[i]);
      at.push_back(0);
    }
    key_of[i] = slot->begin;
    at[slot->begin]++;
  }
  begins_.reserve(keys_.size() + 1);
  begins_.push_back(0);
  for (uint32_t& n : at) {
    begins_.push_back(begins_.back() + n);
    n = begins_.end()[-2];
  }
  order.resize(hashes.size());
  for (size_t i = 0; i < hashes.size(); i++) {
    order[at[key_of[i]]++] = static_cast<uint32_t>(i);
  }
  number_to_run();
}

HashTable::HashTable(std::vector<uint64_t> keys, const std::vector<int64_t>& sizes) {
  begins_.reserve(keys.size() + 1);
  begins_.push_back(0);
  for (int64_t size : sizes) {
    int64_t end = begins_.back() + size;
    require_room(end);
    begins_.push_back(static_cast<uint32_t>(end));
  }
  keys_ = std::move(keys);
  make_slots(std::bit_ceil(2 * keys_.size() + 16));
  number_to_run();
}

void HashTable::make_slots(uint64_t n) {
  slots_.assign(n, Slot{0, 0, 0});
  shift_ = 64 - std::countr_zero(n);
  for (size_t key = 0; key < keys_.size(); key++) {
    Slot& slot = slots_[slot_of(keys_[key])];
    if (slot.begin != slot.end) {
      throw std::invalid_argument("[read_index_binary] No hash must come twice. Received " +
                                  std::to_string(keys_[key]) + " again");
    }
    slot = {keys_[key], static_cast<uint32_t>(key), static_cast<uint32_t>(key + 1)};
  }
}

void HashTable::number_to_run() {
  for (Slot& slot : slots_) {
    if (slot.begin != slot.end) {
      slot = {slot.hash, begins_[slot.begin], begins_[slot.begin + 1]};
    }
  }
}

uint64_t HashTable::slot_of(uint64_t hash) const {
  uint64_t at = place(hash);
  while (slots_[at].begin != slots_[at].end && slots_[at].hash != hash) {
    at = (at + 1) & (slots_.size() - 1);
  }
  return at;
}

HashTable::Run HashTable::find(uint64_t hash) const {
  const Slot& slot = slots_[slot_of(hash)];
  return {slot.begin, slot.end};
}

HashTables::HashTables(int64_t tables, int bits, int64_t code_size, bool keeps_codes)
    : tables_(tables), bits_(bits), code_size_(code_size), keeps_codes_(keeps_codes), buckets_(tables) {}

uint64_t HashTables::hash(const uint8_t* code, int64_t table) const {
  int64_t first = table * bits_, byte = first / 8, there = std::min<int64_t>(code_size_ - byte, 9);
  int shift = static_cast<int>(first % 8);
  uint8_t bytes[16] = {};
  std::memcpy(bytes, code + byte, there);
  uint64_t low = 0;
  for (int i = 7; i >= 0; i--) {
    low = low << 8 | bytes[i];
  }
  uint64_t found = shift ? low >> shift | static_cast<uint64_t>(bytes[8]) << (64 - shift) : low;
  return bits_ == 64 ? found : found & ((uint64_t{1} << bits_) - 1);
}

HashTables::Snapshot HashTables::snapshot() const {
  std::lock_guard lock(mutex_);
  return segments_;
}

int64_t HashTables::ntotal() const {
  int64_t n = 0;
  for (const auto& segment : *snapshot()) {
    n += segment->n;
  }
  return n;
}

int64_t HashTables::hashes() const {
  std::lock_guard lock(mutex_);
  int64_t n = 0;
  for (const HashTable& table : joined()->tables) {
    n += static_cast<int64_t>(table.keys().size());
  }
  return n;
}

std::shared_ptr<const HashSegment> HashTables::built(const std::vector<HashEntries>& tables) const {
  auto out = std::make_shared<HashSegment>();
  out->n = static_cast<int64_t>(tables[0].ids.size());
  std::vector<std::unique_ptr<HashTable>> made(tables_);
  out->ids.resize(tables_);
  cpu::parallel_for(tables_, [&](int64_t t) {
    std::vector<uint32_t> order;
    made[t] = std::make_unique<HashTable>(tables[t].hashes, order);
    out->ids[t].resize(order.size());
    for (size_t i = 0; i < order.size(); i++) {
      out->ids[t][i] = tables[t].ids[order[i]];
    }
    if (keeps_codes_) {
      out->codes.resize(order.size() * code_size_);
      for (size_t i = 0; i < order.size(); i++) {
        std::memcpy(&out->codes[i * code_size_], &tables[t].codes[order[i] * code_size_], code_size_);
      }
    }
  });
  for (auto& table : made) {
    out->tables.push_back(std::move(*table));
  }
  return out;
}

std::vector<HashEntries> HashTables::merged(size_t from) const {
  std::vector<HashEntries> out(tables_);
  for (size_t s = from; s < segments_->size(); s++) {
    const HashSegment& segment = *(*segments_)[s];
    for (int64_t t = 0; t < tables_; t++) {
      const HashTable& table = segment.tables[t];
      for (size_t key = 0; key < table.keys().size(); key++) {
        HashTable::Run run = table.run(static_cast<int64_t>(key));
        out[t].hashes.insert(out[t].hashes.end(), run.end - run.begin, table.keys()[key]);
      }
      out[t].ids.insert(out[t].ids.end(), segment.ids[t].begin(), segment.ids[t].end());
    }
    out[0].codes.insert(out[0].codes.end(), segment.codes.begin(), segment.codes.end());
  }
  return out;
}

void HashTables::add(int64_t n, const int64_t* ids, const uint8_t* codes) {
  if (n == 0) {
    return;
  }
  std::lock_guard lock(mutex_);
  size_t keep = segments_->size();
  for (int64_t more = n; keep > 0 && (*segments_)[keep - 1]->n < kRatio * more; keep--) {
    more += (*segments_)[keep - 1]->n;
  }
  std::vector<HashEntries> tables = merged(keep);
  cpu::parallel_for(tables_, [&](int64_t t) {
    tables[t].ids.insert(tables[t].ids.end(), ids, ids + n);
    tables[t].hashes.reserve(tables[t].ids.size());
    for (int64_t i = 0; i < n; i++) {
      tables[t].hashes.push_back(hash(codes + i * code_size_, t));
    }
  });
  if (keeps_codes_) {
    tables[0].codes.insert(tables[0].codes.end(), codes, codes + n * code_size_);
  }
  auto after = std::make_shared<Segments>(segments_->begin(), segments_->begin() + static_cast<int64_t>(keep));
  after->push_back(built(tables));
  segments_ = std::move(after);
}

const std::shared_ptr<const HashSegment>& HashTables::joined() const {
  if (segments_->size() != 1) {
    segments_ = std::make_shared<const Segments>(Segments{built(merged(0))});
  }
  return segments_->front();
}

void HashTables::reset() {
  std::lock_guard lock(mutex_);
  for (int64_t t = 0; t < tables_ && !segments_->empty(); t++) {  // a map that is cleared keeps its buckets
    buckets_[t] = faiss_map(joined()->tables[t].keys(), buckets_[t]).bucket_count();
  }
  segments_ = std::make_shared<const Segments>();
}

HashTables::Written HashTables::written() const {
  std::lock_guard lock(mutex_);
  Written out{joined(), {}};
  for (int64_t t = 0; t < tables_; t++) {
    std::vector<int64_t>& order = out.order.emplace_back();
    for (const auto& [hash, key] : faiss_map(out.segment->tables[t].keys(), buckets_[t])) {
      order.push_back(key);
    }
  }
  return out;
}

void HashTables::read(std::shared_ptr<const HashSegment> segment) {
  std::lock_guard lock(mutex_);
  for (int64_t t = 0; t < tables_; t++) {
    buckets_[t] = segment->tables[t].keys().size();  // FAISS reserves them
  }
  segments_ = std::make_shared<const Segments>(Segments{std::move(segment)});
}

}  // namespace metalfaiss::index
