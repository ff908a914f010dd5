// Records of FAISS's file format as Python has them: tuples of a fourcc and a dictionary of fields.
#pragma once

#include <nanobind/ndarray.h>

#include <memory>
#include <vector>

#include "bindings/bindings.h"
#include "index/faiss_file/record.h"
#include "index/inverted_lists.h"

namespace metalfaiss {

using ByteArray = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// (fourcc, class, offset, {field: number, (dtype, offset, bytes), record or list of records})
nb::object to_python(const faiss_file::Record& record);

// Holds what a record to be written borrows.
struct Borrowed {
  std::vector<ByteArray> arrays;
  std::vector<std::shared_ptr<std::vector<uint64_t>>> sizes;
  std::vector<index::InvertedLists::Snapshot> lists;

  faiss_file::Bytes bytes(nb::handle array);
};

// From (fourcc, {field: number, uint8 array or list of them, record or list of records}), or InvertedLists; fields
// whose condition does not hold are left out. A nested record without a fourcc has a group.
faiss_file::Record from_python(faiss_file::Domain domain, nb::handle record, const faiss_file::Layout* group,
                               Borrowed& borrowed);

}  // namespace metalfaiss
