#include "index/hash_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

namespace metalfaiss::index {

namespace {

class BitWriter {
 public:
  void write(uint64_t value, int bits) {
    word_ |= value << filled_;
    filled_ += bits;
    if (filled_ >= 64) {
      flush(8);
      filled_ -= 64;
      word_ = filled_ ? value >> (bits - filled_) : 0;
    }
  }
  std::vector<uint8_t> take() {
    flush((filled_ + 7) / 8);
    return std::move(bytes_);
  }

 private:
  void flush(int n) {
    for (int i = 0; i < n; i++) {
      bytes_.push_back(static_cast<uint8_t>(word_ >> 8 * i));
    }
  }

  std::vector<uint8_t> bytes_;
  uint64_t word_ = 0;
  int filled_ = 0;  // of its bits, less than 64
};

void require(bool holds, const char* what, int64_t received) {
  if (!holds) {
    throw std::invalid_argument(std::string("[read_index_binary] ") + what + ". Received " + std::to_string(received));
  }
}

class BitReader {
 public:
  explicit BitReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  uint64_t read(int64_t bits) {
    require(at_ + bits <= 8 * bytes_.size(), "The packed numbers must lie in their bytes", bits);
    uint64_t byte = at_ / 8, value = 0;
    for (uint64_t i = std::min<uint64_t>(bytes_.size() - byte, 8); i > 0; i--) {
      value = value << 8 | bytes_[byte + i - 1];
    }
    value >>= at_ % 8;
    auto there = static_cast<int64_t>(64 - at_ % 8);
    if (bits > there) {
      value |= static_cast<uint64_t>(bytes_[byte + 8]) << there;
    }
    at_ += bits;
    return bits == 64 ? value : value & ((uint64_t{1} << bits) - 1);
  }

 private:
  std::span<const uint8_t> bytes_;
  uint64_t at_ = 0;
};

// The numbers of a file with lists.
class Cursor {
 public:
  explicit Cursor(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  int64_t number() {
    int64_t n = 0;
    std::memcpy(&n, take(8), 8);
    return n;
  }
  const uint8_t* take(int64_t n) {
    require(n >= 0 && static_cast<uint64_t>(n) <= bytes_.size() - at_, "The lists must lie in their bytes", n);
    at_ += n;
    return bytes_.data() + at_ - n;
  }

 private:
  std::span<const uint8_t> bytes_;
  uint64_t at_ = 0;
};

template <typename T>
void append(std::vector<uint8_t>& out, const T* values, int64_t n) {
  auto* bytes = reinterpret_cast<const uint8_t*>(values);
  out.insert(out.end(), bytes, bytes + n * static_cast<int64_t>(sizeof(T)));
}

void append_vector(std::vector<uint8_t>& out, const uint8_t* bytes, int64_t count, int64_t size) {
  append(out, &count, 1);
  append(out, bytes, count * size);
}

int bits_for(int64_t number) {
  return static_cast<int>(std::bit_width(static_cast<uint64_t>(number)));
}

int64_t longest(const HashTable& table) {
  int64_t most = 0;
  for (size_t key = 0; key < table.keys().size(); key++) {
    HashTable::Run run = table.run(static_cast<int64_t>(key));
    most = std::max(most, run.end - run.begin);
  }
  return most;
}

// Hashes with as many entries together as there are.
class Keys {
 public:
  Keys(const HashTables& tables, int64_t ntotal, const PackedTable& packed)
      : bits_(tables.bits()), left_(ntotal), reader_(packed.packed), size_bits_(packed.bits) {
    require(packed.bits >= 0 && packed.bits < 64, "The bits of a number must be from 0 to 63", packed.bits);
    require(packed.size >= 0 && packed.size <= ntotal, "There must be at most ntotal hashes", packed.size);
  }

  // The size of the next one's run.
  int64_t next() {
    hashes_.push_back(reader_.read(bits_));
    auto size = static_cast<int64_t>(reader_.read(size_bits_));
    require(size > 0 && size <= left_, "Hashes must have entries, and no more than ntotal", size);
    left_ -= size;
    sizes_.push_back(size);
    return size;
  }
  int64_t number() { return static_cast<int64_t>(reader_.read(size_bits_)); }

  HashTable table() && {
    require(left_ == 0, "Hashes must have ntotal entries. Missing some", left_);
    return {std::move(hashes_), sizes_};
  }

 private:
  int64_t bits_, left_;
  BitReader reader_;
  int64_t size_bits_;
  std::vector<uint64_t> hashes_;
  std::vector<int64_t> sizes_;
};

}  // namespace

HashLists write_hash_lists(const HashTables& tables) {
  HashTables::Written all = tables.written();
  const HashSegment& segment = *all.segment;
  const HashTable& table = segment.tables[0];
  int64_t code_size = tables.code_size();
  HashLists out{static_cast<int64_t>(table.keys().size()), bits_for(longest(table)), {}, {}};
  out.lists.reserve(segment.n * (8 + code_size) + out.size * 16);
  BitWriter writer;
  for (int64_t key : all.order[0]) {
    auto [begin, end] = table.run(key);
    writer.write(table.keys()[key], tables.bits());
    writer.write(end - begin, out.size_bits);
    append_vector(out.lists, reinterpret_cast<const uint8_t*>(&segment.ids[0][begin]), end - begin, 8);
    append_vector(out.lists, &segment.codes[begin * code_size], (end - begin) * code_size, 1);
  }
  out.sizes = writer.take();
  return out;
}

std::vector<HashMap> write_hash_maps(const HashTables& tables) {
  HashTables::Written all = tables.written();
  const HashSegment& segment = *all.segment;
  std::vector<HashMap> out;
  for (int64_t t = 0; t < tables.tables(); t++) {
    const HashTable& table = segment.tables[t];
    // FAISS's width is that of the ids. Where all of 2^n entries have one hash, it cannot read what it then writes.
    int id_bits = std::max(bits_for(std::max<int64_t>(segment.n - 1, 0)), bits_for(longest(table)));
    HashMap& map = out.emplace_back(HashMap{static_cast<int64_t>(table.keys().size()), id_bits, {}});
    BitWriter writer;
    for (int64_t key : all.order[t]) {
      auto [begin, end] = table.run(key);
      writer.write(table.keys()[key], tables.bits());
      writer.write(end - begin, id_bits);
      for (int64_t i = begin; i < end; i++) {
        writer.write(segment.ids[t][i], id_bits);
      }
    }
    map.packed = writer.take();
  }
  return out;
}

void read_hash_lists(HashTables& tables, int64_t ntotal, const PackedTable& sizes, std::span<const uint8_t> lists) {
  auto segment = std::make_shared<HashSegment>();
  std::vector<int64_t>& ids = segment->ids.emplace_back();
  int64_t code_size = tables.code_size();
  Keys keys(tables, ntotal, sizes);
  Cursor cursor(lists);
  for (int64_t i = 0; i < sizes.size; i++) {
    int64_t n = keys.next();
    require(cursor.number() == n, "A list must have as many ids as its size says", n);
    const uint8_t* from = cursor.take(n * 8);
    ids.resize(ids.size() + n);
    std::memcpy(ids.data() + ids.size() - n, from, n * 8);
    require(cursor.number() == n * code_size, "A list must have a code for each id", n);
    from = cursor.take(n * code_size);
    segment->codes.insert(segment->codes.end(), from, from + n * code_size);
  }
  segment->n = ntotal;
  segment->tables.push_back(std::move(keys).table());
  tables.read(std::move(segment));
}

void read_hash_maps(HashTables& tables, int64_t ntotal, std::span<const PackedTable> maps) {
  auto segment = std::make_shared<HashSegment>();
  segment->n = ntotal;
  for (const PackedTable& map : maps) {
    std::vector<int64_t>& ids = segment->ids.emplace_back();
    Keys keys(tables, ntotal, map);
    for (int64_t i = 0; i < map.size; i++) {
      for (int64_t n = keys.next(); n > 0; n--) {
        ids.push_back(keys.number());
        require(ids.back() < ntotal, "Ids must be below ntotal", ids.back());
      }
    }
    segment->tables.push_back(std::move(keys).table());
  }
  tables.read(std::move(segment));
}

}  // namespace metalfaiss::index
