// From records to bytes.
#pragma once

#include "index/faiss_file/record.h"

namespace metalfaiss::faiss_file {

// Where bytes go. Large arrays come as they lie, the small fields between them gathered.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual void write(const uint8_t* data, uint64_t size) = 0;
};

// How many bytes the record takes in a file.
uint64_t size(const Record& record);

// Writes the record, its fourcc first, as FAISS writes it. Throws FileError if it breaks a rule of its layout, before
// anything is written.
void write(const char* op, const Record& record, Sink& sink);

}  // namespace metalfaiss::faiss_file
