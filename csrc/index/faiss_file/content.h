// The content of inverted lists: where each list lies, from the sizes before it.
#pragma once

#include <cstdint>

#include "index/faiss_file/record.h"

namespace metalfaiss::faiss_file {

constexpr uint64_t kFull = 0x6c6c7566, kSparse = 0x73727073;  // of list_type: "full", "sprs"

// Bytes of a list, and the order they come in: codes, ids, cumulated sums (Panorama's lists only).
struct ListShape {
  uint64_t codes = 0, ids = 0, sums = 0;
};

// Steps through the lists that are not empty, in the order of the file.
class ListSizes {
 public:
  // `record`: inverted lists up to `sizes`, which must be consistent. Throws FileError.
  ListSizes(const char* op, const Record& record);

  uint64_t nlist() const { return nlist_; }

  // The next list that is not empty; false behind the last.
  bool next();
  uint64_t list() const { return list_; }
  uint64_t size() const { return size_; }

  // Its bytes, each at most kTooMany.
  ListShape shape() const;

 private:
  uint64_t entry(uint64_t i) const;
  [[noreturn]] void fail(const std::string& message, uint64_t at) const;

  const char* op_;
  const Record& record_;
  const Value& sizes_;
  bool sparse_;
  uint64_t nlist_, code_size_, batch_ = 0, levels_ = 0;
  uint64_t at_ = 0, list_ = 0, size_ = 0;
};

}  // namespace metalfaiss::faiss_file
