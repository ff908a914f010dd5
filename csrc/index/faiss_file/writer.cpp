#include "index/faiss_file/writer.h"

#include <string>

#include "index/faiss_file/file_error.h"

namespace metalfaiss::faiss_file {

namespace {

constexpr uint64_t kGathered = 64 << 10;  // a field as large goes out by itself

class Writer {
 public:
  explicit Writer(Sink& sink) : sink_(sink) {}

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
    if (!gathered_.empty()) {
      sink_.write(gathered_.data(), gathered_.size());
      gathered_.clear();
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
    if (size >= kGathered || gathered_.size() + size > kGathered) {
      finish();
    }
    if (size >= kGathered) {
      sink_.write(data, size);
    } else if (size > 0) {
      gathered_.insert(gathered_.end(), data, data + size);
    }
  }

  Sink& sink_;
  std::vector<uint8_t> gathered_;
};

struct Counter : Sink {
  void write(const uint8_t*, uint64_t size) override { total += size; }
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
