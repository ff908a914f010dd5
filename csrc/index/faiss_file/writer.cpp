#include "index/faiss_file/writer.h"

#include <algorithm>
#include <string>
#include <vector>

#include "index/faiss_file/file_error.h"

namespace metalfaiss::faiss_file {

namespace {

constexpr uint64_t kCopied = 4 << 10;     // larger fields go out as they lie
constexpr uint64_t kGathered = 64 << 10;  // room for the others

class Writer {
 public:
  explicit Writer(Sink& sink) : sink_(sink) { gathered_.reserve(kGathered); }

  void record(const Record& record) {
    if (record.layout->domain != Domain::group) {
      put(reinterpret_cast<const uint8_t*>(record.layout->fourcc.data()), 4);
    }
    for (size_t i = 0; i < record.values.size(); ++i) {
      if (record.values[i].present) {
        value(record.layout->fields[i], record.values[i]);
      }
    }
  }

  void finish() {
    if (!pieces_.empty()) {
      sink_.write(pieces_);
      pieces_.clear();
      gathered_.clear();
      total_ = 0;
    }
  }

 private:
  void value(const Field& field, const Value& value) {
    for (const Record& child : value.children) {
      record(child);
    }
    if (uint64_t element = size_of(field.type)) {
      uint64_t number = field.array ? value.bytes.size / element : value.bits;
      put(reinterpret_cast<const uint8_t*>(&number), field.array ? 8 : element);
    }
    if (value.pieces.empty()) {
      put(value.bytes.data, value.bytes.size);
    }
    for (Bytes piece : value.pieces) {
      put(piece.data, piece.size);
    }
  }

  void put(const uint8_t* data, uint64_t size) {
    while (size > 0) {
      bool small = size <= kCopied;
      if (total_ == kBatch || pieces_.size() == kPieces || (small && gathered_.size() + size > kGathered)) {
        finish();
      }
      uint64_t n = std::min(size, kBatch - total_);
      add(small ? copied(data, n) : data, n);
      data += n;
      size -= n;
    }
  }

  // Within what is reserved: earlier pieces stay where they are.
  const uint8_t* copied(const uint8_t* data, uint64_t n) {
    gathered_.insert(gathered_.end(), data, data + n);
    return gathered_.data() + gathered_.size() - n;
  }

  void add(const uint8_t* data, uint64_t n) {
    if (!pieces_.empty() && pieces_.back().data + pieces_.back().size == data) {
      pieces_.back().size += n;
    } else {
      pieces_.push_back({data, n});
    }
    total_ += n;
  }

  Sink& sink_;
  std::vector<Bytes> pieces_;
  std::vector<uint8_t> gathered_;
  uint64_t total_ = 0;  // bytes of the pieces
};

struct Counter : Sink {
  void write(std::span<const Bytes> pieces) override {
    for (Bytes piece : pieces) {
      total += piece.size;
    }
  }
  uint64_t total = 0;
};

void check(const char* op, const Record& record) {
  for (const Value& value : record.values) {
    for (const Record& child : value.children) {
      check(op, child);
    }
  }
  check_rules(op, record);
}

}  // namespace

uint64_t size(const Record& record) {
  Counter counter;
  Writer writer(counter);
  writer.record(record);
  writer.finish();
  return counter.total;
}

void write(const char* op, const Record& record, Sink& sink) {
  check(op, record);
  Writer writer(sink);
  writer.record(record);
  writer.finish();
}

}  // namespace metalfaiss::faiss_file
