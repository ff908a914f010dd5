#include "index/faiss_file/content.h"

#include <cstring>
#include <string>

#include "index/faiss_file/arithmetic.h"
#include "index/faiss_file/file_error.h"

namespace metalfaiss::faiss_file {

namespace {

constexpr uint64_t kOldBatch = 128;  // of Panorama's lists before the file told

}  // namespace

ListSizes::ListSizes(const char* op, const Record& record)
    : op_(op), record_(record), sizes_(*record.find("sizes")), nlist_(record.find("nlist")->bits) {
  code_size_ = record.find("code_size")->bits;
  const Value& type = *record.find("list_type");
  sparse_ = type.bits == kSparse;
  if (!sparse_ && type.bits != kFull) {
    fail("list_type must be \"full\" or \"sprs\". Received another", type.offset);
  }
  uint64_t count = sizes_.bytes.size / 8;
  if (!sparse_ && count != nlist_) {
    fail("sizes must be nlist = " + std::to_string(nlist_) + " numbers. Received " + std::to_string(count),
         sizes_.offset);
  }
  if (sparse_ && count % 2 != 0) {
    fail("sizes must be pairs. Received " + std::to_string(count) + " numbers", sizes_.offset);
  }
  if (const Value* levels = record.find("n_levels")) {
    const Value* batch = record.find("batch_size");
    levels_ = levels->bits;
    batch_ = batch ? batch->bits : kOldBatch;
    if (batch_ == 0 || levels_ == 0) {
      fail("n_levels and batch_size must be at least 1. Received 0", levels->offset);
    }
  }
}

bool ListSizes::next() {
  uint64_t count = sizes_.bytes.size / 8;
  while (at_ < count) {
    uint64_t before = list_;
    list_ = sparse_ ? entry(at_) : at_;
    size_ = sparse_ ? entry(at_ + 1) : entry(at_);
    if (sparse_ && (list_ >= nlist_ || (at_ > 0 && list_ <= before))) {
      fail("lists must be named in ascending order, below nlist = " + std::to_string(nlist_) + ". Received " +
               std::to_string(list_),
           sizes_.offset + 8 + 8 * at_);
    }
    at_ += sparse_ ? 2 : 1;
    if (size_ > 0) {
      return true;
    }
  }
  return false;
}

ListShape ListSizes::shape() const {
  if (batch_ == 0) {
    return {times(size_, code_size_), times(size_, 8), 0};
  }
  uint64_t padded = times(size_ / batch_ + (size_ % batch_ != 0), batch_);
  return {times(padded, code_size_), times(size_, 8), times(times(padded, plus(levels_, 1)), 4)};
}

uint64_t ListSizes::entry(uint64_t i) const {
  uint64_t value = 0;
  std::memcpy(&value, sizes_.bytes.data + 8 * i, 8);
  return value;
}

void ListSizes::fail(const std::string& message, uint64_t at) const {
  throw FileError(
      "[" + std::string(op_) + "] " + message + " (" + record_.layout->fourcc + ", byte " + std::to_string(at) + ").",
      at);
}

}  // namespace metalfaiss::faiss_file
