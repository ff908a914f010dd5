// From records to bytes.
#pragma once

#include <span>

#include "index/faiss_file/record.h"

namespace metalfaiss::faiss_file {

// Where bytes go: several pieces at once, at most kPieces of at most kBatch bytes together. Large arrays come as they
// lie, the small fields between them gathered. The pieces are valid until `write` returns.
constexpr size_t kPieces = 512;
constexpr uint64_t kBatch = 8 << 20;

class Sink {
 public:
  virtual ~Sink() = default;
  virtual void write(std::span<const Bytes> pieces) = 0;
};

// How many bytes the record takes in a file.
uint64_t size(const Record& record);

// Writes the record, its fourcc first, as FAISS writes it. Throws FileError if it breaks a rule of its layout, before
// anything is written.
void write(const char* op, const Record& record, Sink& sink);

}  // namespace metalfaiss::faiss_file
