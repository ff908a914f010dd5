// From bytes to records.
#pragma once

#include <cstdint>

#include "index/faiss_file/file_error.h"
#include "index/faiss_file/record.h"

namespace metalfaiss::faiss_file {

// Where bytes come from: memory, a mapped file, or a stream that is read as far as it is needed and no further.
class Source {
 public:
  virtual ~Source() = default;
  // Makes the first `wanted` bytes available, or as many as there are; returns how many are. May move them.
  virtual uint64_t reach(uint64_t wanted) = 0;
  virtual const uint8_t* data() const = 0;
};

class Memory : public Source {
 public:
  explicit Memory(Bytes bytes) : bytes_(bytes) {}
  uint64_t reach(uint64_t) override { return bytes_.size; }
  const uint8_t* data() const override { return bytes_.data; }

 private:
  Bytes bytes_;
};

// Reads one record of the domain at the start of the source; what lies behind it is left alone. `end` gets where it
// ends.
//
// Nothing is copied: arrays are views into the source's bytes. Whatever they are, this terminates, reads none but them,
// and allocates at most kRecordBudget plus as much as there are bytes; where they are no such record it throws
// FileError.
Record read(const char* op, Domain domain, Source& source, uint64_t* end = nullptr);

constexpr uint64_t kRecordBudget = 64 << 10;
constexpr int kMaxDepth = 32;  // of nested records; FAISS itself nests 6

}  // namespace metalfaiss::faiss_file
