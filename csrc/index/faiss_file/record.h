// A file as a tree of records: what the reader makes and the writer takes. Arrays are views.
#pragma once

#include <cstdint>
#include <vector>

#include "index/faiss_file/layout.h"

namespace metalfaiss::faiss_file {

struct Record;

// A run of bytes that lies elsewhere.
struct Bytes {
  const uint8_t* data = nullptr;
  uint64_t size = 0;
};

struct Value {
  uint64_t offset = 0;        // where it begins in the file
  uint64_t begin = 0;         // where `bytes` begin
  uint64_t bits = 0;          // of a scalar, sign-extended if it has a sign; of content, the vectors in all lists
  Bytes bytes;                // of an array, content, vectors or a graph, without its count
  std::vector<Bytes> pieces;  // writer: what `bytes` would hold, where its parts do not lie together
  std::vector<Record> children;
  bool present = false;
};

struct Record {
  const Layout* layout = nullptr;
  uint64_t offset = 0;
  std::vector<Value> values;  // as many as the layout has fields

  // Null if there is no such field, or its condition did not hold.
  const Value* find(std::string_view name) const {
    int at = layout->find(name);
    return at >= 0 && values[at].present ? &values[at] : nullptr;
  }
};

// Whether a field is there, from the values before it.
bool holds(const Condition& condition, const std::vector<Value>& values);

// Throws FileError unless the rules of the layout hold. Children have been checked before.
void check_rules(const char* op, const Record& record);

}  // namespace metalfaiss::faiss_file
