#include "index/file_bytes.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>

#include "bindings/bindings.h"
#include "bindings/faiss_records.h"
#include "index/inverted_lists.h"
#include "mlx/allocator.h"
#include "mlx/array.h"
#include "mlx/device.h"

namespace metalfaiss {

namespace {

namespace mx = mlx::core;
using index::FileBytes;
using index::InvertedLists;
using FileBytesPtr = std::shared_ptr<FileBytes>;

mx::Dtype dtype_of(const std::string& name) {
  return name == "<f4" ? mx::float32 : name == "<i8" ? mx::int64 : mx::uint8;
}

// An array on the bytes as they lie. No operation reuses its memory, since MLX does not own it.
mx::array lend(const FileBytesPtr& bytes, uint64_t offset, mx::Shape shape, mx::Dtype dtype) {
  auto* data = const_cast<uint8_t*>(bytes->data()) + offset;
  if (mx::is_available(mx::Device::gpu)) {
    return mx::array(data, std::move(shape), dtype, [bytes](void*) {});  // copied unless the GPU takes it as it lies
  }
  // A buffer of MLX's CPU allocator begins with its size, eight bytes before the data.
  mx::allocator::Data lent(mx::allocator::Buffer(data - 8), [bytes](mx::allocator::Buffer) {});
  return mx::array(std::move(lent), std::move(shape), dtype);
}

mx::array copied(const FileBytes& bytes, uint64_t offset, uint64_t size, mx::Shape shape, mx::Dtype dtype) {
  mx::array out(mx::allocator::malloc(size), std::move(shape), dtype);
  index::copy_all(out.data<uint8_t>(), bytes.data() + offset, size);
  return out;
}

mx::array to_mlx(const FileBytesPtr& bytes, uint64_t offset, std::vector<int64_t> sizes, const std::string& type,
                 bool as_it_lies) {
  mx::Dtype dtype = dtype_of(type);
  uint64_t size = dtype.size();
  mx::Shape shape;
  for (int64_t n : sizes) {
    size *= static_cast<uint64_t>(n);
    shape.push_back(static_cast<mx::ShapeElem>(n));
  }
  bool aligned = reinterpret_cast<uintptr_t>(bytes->data() + offset) % dtype.size() == 0;
  nb::gil_scoped_release release;
  return (as_it_lies || aligned) && offset >= 8 ? lend(bytes, offset, std::move(shape), dtype)
                                                : copied(*bytes, offset, size, std::move(shape), dtype);
}

nb::ndarray<nb::numpy, const uint8_t, nb::ndim<1>> view(const FileBytesPtr& bytes, uint64_t offset, uint64_t size) {
  auto* kept = new FileBytesPtr(bytes);
  nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<FileBytesPtr*>(p); });
  return {bytes->data() + offset, {size}, owner};
}
// Fills empty lists with those of a parsed file, which they borrow.
void borrow_lists(InvertedLists& lists, const FileBytesPtr& bytes, uint64_t sizes, uint64_t num_sizes, bool sparse,
                  uint64_t content) {
  const uint8_t* at = bytes->data() + content;
  auto code_size = static_cast<uint64_t>(lists.code_size());
  std::vector<index::BorrowedList> found;
  for (uint64_t i = 0; i < num_sizes; i += sparse ? 2 : 1) {
    uint64_t entry[2] = {i, 0};
    std::memcpy(sparse ? entry : entry + 1, bytes->data() + sizes + 8 * i, sparse ? 16 : 8);
    auto [list, n] = entry;
    if (n > 0) {
      const uint8_t* ids = at + n * code_size;
      found.push_back({static_cast<int64_t>(list), static_cast<int64_t>(n), reinterpret_cast<const int64_t*>(ids), at});
      at = ids + n * 8;
    }
  }
  lists.borrow(found, bytes);
}

// Fills one empty list with codes and ids that lie at any places of files, or in memory.
void borrow_list(InvertedLists& lists, int64_t list, int64_t n, const FileBytesPtr& codes, uint64_t codes_at,
                 const FileBytesPtr& ids, uint64_t ids_at) {
  using Both = std::pair<FileBytesPtr, FileBytesPtr>;
  auto kept = std::make_shared<const Both>(codes, ids);
  index::BorrowedList found{list, n, reinterpret_cast<const int64_t*>(ids->data() + ids_at), codes->data() + codes_at};
  lists.borrow({&found, 1}, kept);
}

}  // namespace

void bind_file_bytes(nb::module_& m) {
  nb::class_<FileBytes>(m, "FileBytes",
                        "The bytes of a file, in memory or mapped, shared by all that borrow from them.")
      .def_static("map", &FileBytes::map, "fd"_a, "offset"_a, nb::call_guard<nb::gil_scoped_release>(),
                  "Maps an open file from ``offset`` to its end: nothing is read yet.")
      .def_static("read", &FileBytes::read, "fd"_a, "offset"_a, "align_at"_a, nb::call_guard<nb::gil_scoped_release>(),
                  "Reads an open file from ``offset`` to its end; in memory, byte ``align_at`` is aligned to 64 bytes.")
      .def_static(
          "copy", [](const ByteArray& data) { return FileBytes::copy(data.data(), data.size()); }, "data"_a,
          "Copies a NumPy array of uint8.")
      .def_static(
          "borrow",
          [](const ByteArray& data) {
            auto* kept = new ByteArray(data);
            std::shared_ptr<const void> owner(kept, [](ByteArray* p) {
              nb::gil_scoped_acquire acquire;
              delete p;
            });
            return FileBytes::borrow(data.data(), data.size(), std::move(owner));
          },
          "data"_a, "Borrows a NumPy array of uint8, which must not change.")
      .def("__len__", &FileBytes::size, "How many bytes.")
      .def("numpy", &view, "offset"_a, "size"_a, "A read-only NumPy view of uint8.")
      .def("mlx", &to_mlx, "offset"_a, "shape"_a, "type"_a, "as_it_lies"_a,
           "An array of ``<f4``, ``<i8`` or ``|u1``: on the bytes themselves if they are aligned, or ``as_it_lies``; "
           "else a copy.");
  m.def("borrow_lists", &borrow_lists, "lists"_a, "bytes"_a, "sizes"_a, "num_sizes"_a, "sparse"_a, "content"_a,
        nb::call_guard<nb::gil_scoped_release>(),
        "Fills empty InvertedLists with those of a file: the offset and number of their sizes, and of their content.");
  m.def("borrow_list", &borrow_list, "lists"_a, "list"_a, "n"_a, "codes"_a, "codes_at"_a, "ids"_a, "ids_at"_a,
        "Fills one empty list with n entries: FileBytes of codes, and of ids, and the offsets at which they begin.");
}

}  // namespace metalfaiss
