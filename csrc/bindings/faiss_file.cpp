#include "index/faiss_file/layout.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/function.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <functional>
#include <system_error>

#include "bindings/bindings.h"
#include "index/faiss_file/content.h"
#include "index/faiss_file/reader.h"
#include "index/faiss_file/writer.h"
#include "index/file_bytes.h"
#include "index/inverted_lists.h"
#include "mlx/allocator.h"
#include "mlx/array.h"
#include "mlx/device.h"

namespace metalfaiss {

namespace {

namespace ff = faiss_file;
namespace mx = mlx::core;
using index::FileBytes;
using index::InvertedLists;
using FileBytesPtr = std::shared_ptr<FileBytes>;
using Input = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Output = nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

ff::Domain domain_of(const std::string& name) {
  constexpr std::pair<const char*, ff::Domain> kDomains[] = {{"index", ff::Domain::index},
                                                             {"binary", ff::Domain::binary},
                                                             {"transform", ff::Domain::transform},
                                                             {"lists", ff::Domain::lists}};
  for (auto [known, domain] : kDomains) {
    if (name == known) {
      return domain;
    }
  }
  throw nb::value_error("domain");
}

// The domain that a fourcc belongs to, if "any" is asked for.
ff::Domain domain_of(const std::string& name, const uint8_t* data, uint64_t size) {
  for (auto domain : {ff::Domain::binary, ff::Domain::transform, ff::Domain::lists}) {
    if (name == "any" && size >= 4 && ff::find_layout(domain, {reinterpret_cast<const char*>(data), 4})) {
      return domain;
    }
  }
  return name == "any" ? ff::Domain::index : domain_of(name);
}

const char* type_name(const ff::Field& field) {
  switch (field.type) {
    case ff::Type::i4:
      return "<i4";
    case ff::Type::u4:
      return "<u4";
    case ff::Type::i8:
    case ff::Type::pair:
      return "<i8";
    case ff::Type::u8:
    case ff::Type::triple:
      return "<u8";
    case ff::Type::f4:
      return "<f4";
    case ff::Type::f8:
      return "<f8";
    case ff::Type::record:
    case ff::Type::c4:
    case ff::Type::flag:
      return "";
    default:
      return "|u1";
  }
}

// --------------------------------------------------------------------------------------------------- records to Python

nb::object to_python(const ff::Record& record);

nb::object scalar(const ff::Field& field, uint64_t bits) {
  switch (field.type) {
    case ff::Type::flag:
      return nb::bool_(bits != 0);
    case ff::Type::f4: {
      auto narrow = static_cast<uint32_t>(bits);
      float value = 0;
      std::memcpy(&value, &narrow, 4);
      return nb::float_(value);
    }
    case ff::Type::f8: {
      double value = 0;
      std::memcpy(&value, &bits, 8);
      return nb::float_(value);
    }
    case ff::Type::c4:
      return nb::str(reinterpret_cast<const char*>(&bits), 4);  // "full" or "sprs": the content was read
    case ff::Type::i4:
    case ff::Type::i8:
      return nb::int_(static_cast<int64_t>(bits));
    default:
      return nb::int_(bits);
  }
}

nb::object value(const ff::Field& field, const ff::Value& value) {
  if (field.type == ff::Type::record) {
    if (field.count_field < 0) {
      return to_python(value.children[0]);
    }
    nb::list records;
    for (const ff::Record& child : value.children) {
      records.append(to_python(child));
    }
    return records;
  }
  if (field.array || ff::size_of(field.type) == 0) {
    return nb::make_tuple(type_name(field), value.begin, value.bytes.size);
  }
  return scalar(field, value.bits);
}

// (fourcc, class, offset, {field: number, (dtype, offset, bytes), record or list of records})
nb::object to_python(const ff::Record& record) {
  nb::dict fields;
  for (size_t i = 0; i < record.values.size(); ++i) {
    if (record.values[i].present) {
      const ff::Field& field = record.layout->fields[i];
      fields[field.name.c_str()] = value(field, record.values[i]);
    }
  }
  return nb::make_tuple(record.layout->fourcc, record.layout->class_name, record.offset, fields);
}

// ------------------------------------------------------------------------------------------------- records from Python

// Holds what a record to be written borrows.
struct Borrowed {
  std::vector<Input> arrays;
  std::vector<std::shared_ptr<std::vector<uint64_t>>> sizes;
  std::vector<InvertedLists::Snapshot> lists;

  ff::Bytes bytes(nb::handle array) {
    arrays.push_back(nb::cast<Input>(array));
    return {arrays.back().data(), arrays.back().size()};
  }
};

ff::Record from_python(ff::Domain domain, nb::handle record, const ff::Layout* group, Borrowed& borrowed);

uint64_t scalar_bits(const ff::Field& field, nb::handle given) {
  switch (field.type) {
    case ff::Type::flag:
      return nb::cast<bool>(given);
    case ff::Type::f4: {
      auto value = static_cast<float>(nb::cast<double>(given));
      uint32_t bits = 0;
      std::memcpy(&bits, &value, 4);
      return bits;
    }
    case ff::Type::f8: {
      auto value = nb::cast<double>(given);
      uint64_t bits = 0;
      std::memcpy(&bits, &value, 8);
      return bits;
    }
    case ff::Type::c4: {
      auto text = nb::cast<std::string>(given);
      uint64_t bits = 0;
      std::memcpy(&bits, text.data(), std::min<size_t>(text.size(), 4));
      return bits;
    }
    case ff::Type::i4:
      return static_cast<uint64_t>(static_cast<int64_t>(nb::cast<int32_t>(given)));
    case ff::Type::i8:
      return static_cast<uint64_t>(nb::cast<int64_t>(given));
    case ff::Type::u1:
      return nb::cast<uint8_t>(given);
    case ff::Type::u4:
      return nb::cast<uint32_t>(given);
    default:
      return nb::cast<uint64_t>(given);
  }
}

void fill(ff::Value& out, const ff::Field& field, nb::handle given, Borrowed& borrowed) {
  if (field.type == ff::Type::record) {
    bool one = field.count_field < 0;
    for (nb::handle child : one ? nb::object(nb::make_tuple(given)) : nb::borrow(given)) {
      out.children.push_back(from_python(field.domain, child, field.group, borrowed));
    }
  } else if (nb::isinstance<nb::list>(given)) {
    for (nb::handle piece : nb::cast<nb::list>(given)) {
      out.pieces.push_back(borrowed.bytes(piece));
      out.bytes.size += out.pieces.back().size;
    }
  } else if (field.array || ff::size_of(field.type) == 0) {
    out.bytes = borrowed.bytes(given);
  } else {
    out.bits = scalar_bits(field, given);
  }
}

void set(ff::Record& record, const char* name, uint64_t bits) {
  record.values[record.layout->find(name)].bits = bits;
}

// One snapshot of the lists, as FAISS writes it: their sizes in pairs if at most half of them have entries.
ff::Record lists_record(const InvertedLists& lists, Borrowed& borrowed) {
  const ff::Layout* layout = ff::find_layout(ff::Domain::lists, "ilar");
  ff::Record out{layout, 0, std::vector<ff::Value>(layout->fields.size())};
  const auto& snapshot = *borrowed.lists.emplace_back(lists.snapshot());
  auto& sizes = *borrowed.sizes.emplace_back(std::make_shared<std::vector<uint64_t>>());
  ff::Value& content = out.values[layout->find("content")];
  uint64_t filled = 0, code_size = static_cast<uint64_t>(lists.code_size());
  for (const index::InvertedList& list : snapshot) {
    filled += list.size > 0;
  }
  bool sparse = filled <= snapshot.size() / 2;
  for (size_t i = 0; i < snapshot.size(); ++i) {
    auto n = static_cast<uint64_t>(snapshot[i].size);
    if (sparse && n > 0) {
      sizes.push_back(i);
    }
    if (!sparse || n > 0) {
      sizes.push_back(n);
    }
    if (n > 0) {
      content.bits += n;
      content.pieces.push_back({snapshot[i].codes(), n * code_size});
      content.pieces.push_back({reinterpret_cast<const uint8_t*>(snapshot[i].ids()), n * 8});
    }
  }
  set(out, "nlist", snapshot.size());
  set(out, "code_size", code_size);
  set(out, "list_type", sparse ? ff::kSparse : ff::kFull);
  out.values[layout->find("sizes")].bytes = {reinterpret_cast<const uint8_t*>(sizes.data()), sizes.size() * 8};
  for (ff::Value& value : out.values) {
    value.present = true;
  }
  return out;
}

// (fourcc, {field: number, uint8 array or list of them, record or list of records}), or InvertedLists; fields whose
// condition does not hold are left out.
ff::Record from_python(ff::Domain domain, nb::handle record, const ff::Layout* group, Borrowed& borrowed) {
  if (nb::isinstance<InvertedLists>(record)) {
    return lists_record(*nb::cast<InvertedLists*>(record), borrowed);
  }
  auto fourcc = nb::cast<std::string>(record[0]);
  const ff::Layout* layout = group ? group : ff::find_layout(domain, fourcc);
  if (layout == nullptr || !layout->known || !layout->written) {
    throw nb::value_error(("fourcc " + fourcc).c_str());
  }
  nb::dict given = nb::cast<nb::dict>(record[1]);
  ff::Record out{layout, 0, std::vector<ff::Value>(layout->fields.size())};
  for (size_t i = 0; i < layout->fields.size(); ++i) {
    const ff::Field& field = layout->fields[i];
    if (ff::holds(field.condition, out.values)) {
      out.values[i].present = true;
      fill(out.values[i], field, given[field.name.c_str()], borrowed);
    }
  }
  return out;
}

// ---------------------------------------------------------------------------------------------------- sources and
// sinks

// A Python callable that returns at most as many bytes as it is asked for, and none at the end.
class Stream : public ff::Source {
 public:
  explicit Stream(nb::callable read) : read_(std::move(read)) {}
  ~Stream() override { std::free(data_); }

  uint64_t reach(uint64_t wanted) override {
    while (size_ < wanted && !ended_) {
      more(std::min(wanted - size_, std::max(size_, kFirst)));
    }
    return size_;
  }
  const uint8_t* data() const override { return data_; }

  FileBytesPtr release() { return FileBytes::adopt(std::exchange(data_, nullptr), size_); }

 private:
  static constexpr uint64_t kFirst = 64 << 10;

  void more(uint64_t wanted) {
    nb::object part = read_(wanted);
    Py_buffer view;
    if (PyObject_GetBuffer(part.ptr(), &view, PyBUF_SIMPLE) != 0) {
      nb::raise_python_error();
    }
    auto n = static_cast<uint64_t>(view.len);
    auto* grown = n > wanted ? nullptr : static_cast<uint8_t*>(std::realloc(data_, size_ + n + 1));
    if (grown != nullptr) {
      data_ = grown;
      std::memcpy(data_ + size_, view.buf, n);
      size_ += n;
    }
    PyBuffer_Release(&view);
    ended_ = n == 0;
    if (n > wanted) {
      throw nb::value_error("[read_index] A reader must return at most as many bytes as it is asked for.");
    }
    if (grown == nullptr) {
      throw std::bad_alloc();
    }
  }

  nb::callable read_;
  uint8_t* data_ = nullptr;
  uint64_t size_ = 0;
  bool ended_ = false;
};

struct FileSink : ff::Sink {
  explicit FileSink(int fd) : fd(fd) {}
  void write(const uint8_t* data, uint64_t size) override { index::write_all(fd, data, size); }
  int fd;
};

struct MemorySink : ff::Sink {
  explicit MemorySink(uint8_t* to) : to(to) {}
  void write(const uint8_t* data, uint64_t size) override {
    std::memcpy(to, data, size);
    to += size;
  }
  uint8_t* to;
};

struct CallbackSink : ff::Sink {
  explicit CallbackSink(nb::callable write) : callback(std::move(write)) {}
  void write(const uint8_t* data, uint64_t size) override {
    constexpr uint64_t kPiece = 1 << 20;
    for (uint64_t at = 0; at < size; at += kPiece) {
      callback(nb::bytes(data + at, std::min(kPiece, size - at)));
    }
  }
  nb::callable callback;
};

using Parsed = nb::typed<nb::tuple, nb::any, uint64_t>;
using ParsedStream = nb::typed<nb::tuple, nb::any, FileBytes>;
using ReadCallback = nb::typed<nb::callable, nb::any(uint64_t)>;
using WriteCallback = nb::typed<nb::callable, nb::any(nb::bytes)>;

Parsed read_bytes(const std::string& op, const std::string& domain, const FileBytes& bytes, uint64_t start) {
  uint64_t end = 0;
  ff::Record record;
  {
    nb::gil_scoped_release release;
    ff::Memory memory({bytes.data() + start, bytes.size() - start});
    uint64_t size = bytes.size() - start;
    record = ff::read(op.c_str(), domain_of(domain, bytes.data() + start, size), memory, &end);
  }
  return Parsed(nb::make_tuple(to_python(record), end));
}

ParsedStream read_stream(const std::string& op, const std::string& domain, ReadCallback read) {
  Stream stream(std::move(read));
  uint64_t size = stream.reach(4);
  ff::Record record = ff::read(op.c_str(), domain_of(domain, stream.data(), size), stream);
  return ParsedStream(nb::make_tuple(to_python(record), stream.release()));
}

void write_to(const std::string& op, const std::string& domain, nb::handle record, ff::Sink& sink, bool needs_gil) {
  Borrowed borrowed;
  ff::Record made = from_python(domain_of(domain), record, nullptr, borrowed);
  if (needs_gil) {
    ff::write(op.c_str(), made, sink);
  } else {
    nb::gil_scoped_release release;
    ff::write(op.c_str(), made, sink);
  }
}

nb::ndarray<nb::numpy, uint8_t, nb::ndim<1>> write_memory(const std::string& op, const std::string& domain,
                                                          nb::handle record) {
  Borrowed borrowed;
  ff::Record made = from_python(domain_of(domain), record, nullptr, borrowed);
  uint8_t* data = nullptr;
  uint64_t size = ff::size(made);
  {
    nb::gil_scoped_release release;
    data = static_cast<uint8_t*>(std::malloc(size));
    if (data == nullptr) {
      throw std::bad_alloc();
    }
    MemorySink sink(data);
    try {
      ff::write(op.c_str(), made, sink);
    } catch (...) {
      std::free(data);
      throw;
    }
  }
  return {data, {size}, nb::capsule(data, [](void* p) noexcept { std::free(p); })};
}

// ----------------------------------------------------------------------------------------------------------- MLX
// arrays

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

// -------------------------------------------------------------------------------------------------------------- errors

void raise(const char* type, const std::string& message, uint64_t offset) {
  nb::object error = nb::module_::import_("metalfaiss.io.errors").attr(type)(message);
  error.attr("offset") = offset;
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
}

void translate(const std::exception_ptr& p, void*) {
  try {
    std::rethrow_exception(p);
  } catch (const ff::UnknownFormat& e) {
    PyErr_SetString(PyExc_NotImplementedError, e.what());
  } catch (const ff::FileError& e) {
    raise("IndexFileError", e.what(), e.offset);
  } catch (const std::system_error& e) {
    PyErr_SetObject(PyExc_OSError, nb::make_tuple(e.code().value(), e.code().message()).ptr());
  }
}

// Fills empty lists with those of a parsed file, which they borrow.
void borrow_lists(InvertedLists& lists, const FileBytesPtr& bytes, uint64_t sizes, uint64_t num_sizes, bool sparse,
                  uint64_t content) {
  const uint8_t* at = bytes->data() + content;
  auto code_size = static_cast<uint64_t>(lists.code_size());
  for (uint64_t i = 0; i < num_sizes; i += sparse ? 2 : 1) {
    uint64_t entry[2] = {i, 0};
    std::memcpy(sparse ? entry : entry + 1, bytes->data() + sizes + 8 * i, sparse ? 16 : 8);
    auto [list, n] = entry;
    if (n > 0) {
      const uint8_t* ids = at + n * code_size;
      lists.borrow(static_cast<int64_t>(list), static_cast<int64_t>(n), reinterpret_cast<const int64_t*>(ids), at,
                   bytes);
      at = ids + n * 8;
    }
  }
}

nb::typed<nb::list, nb::typed<nb::tuple, nb::any, nb::ellipsis>> formats() {
  nb::list out;
  for (const ff::Layout& layout : ff::layouts()) {
    if (layout.domain != ff::Domain::group) {
      nb::list fields;
      for (const ff::Field& field : layout.fields) {
        fields.append(field.name);
      }
      out.append(nb::make_tuple(layout.fourcc, layout.class_name, ff::domain_name(layout.domain), layout.written,
                                layout.known, fields));
    }
  }
  return nb::typed<nb::list, nb::typed<nb::tuple, nb::any, nb::ellipsis>>(out);
}

}  // namespace

void bind_faiss_file(nb::module_& m) {
  nb::register_exception_translator(translate);
  nb::class_<FileBytes>(m, "FileBytes",
                        "The bytes of a file, in memory or mapped, shared by all that borrow from them.")
      .def_static("map", &FileBytes::map, "fd"_a, "offset"_a, nb::call_guard<nb::gil_scoped_release>(),
                  "Maps an open file from ``offset`` to its end: nothing is read yet.")
      .def_static("read", &FileBytes::read, "fd"_a, "offset"_a, "align_at"_a, nb::call_guard<nb::gil_scoped_release>(),
                  "Reads an open file from ``offset`` to its end; in memory, byte ``align_at`` is aligned to 64 bytes.")
      .def_static(
          "copy", [](const Input& data) { return FileBytes::copy(data.data(), data.size()); }, "data"_a,
          "Copies a NumPy array of uint8.")
      .def_static(
          "borrow",
          [](const Input& data) {
            auto* kept = new Input(data);
            std::shared_ptr<const void> owner(kept, [](Input* p) {
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
  m.def("read_faiss_bytes", &read_bytes, "op"_a, "domain"_a, "bytes"_a, "start"_a,
        "The record at ``start``, and how many bytes it takes: ((fourcc, class, offset, fields), end).");
  m.def("read_faiss_stream", &read_stream, "op"_a, "domain"_a, "read"_a,
        "The record that ``read(n) -> bytes`` delivers, and its bytes; no more is read than it takes.");
  m.def(
      "write_faiss_fd",
      [](const std::string& op, const std::string& domain, nb::object record, int fd) {
        FileSink sink(fd);
        write_to(op, domain, record, sink, false);
      },
      "op"_a, "domain"_a, "record"_a, "fd"_a, "Writes (fourcc, fields) to an open file.");
  m.def(
      "write_faiss_callback",
      [](const std::string& op, const std::string& domain, nb::object record, WriteCallback write) {
        CallbackSink sink(std::move(write));
        write_to(op, domain, record, sink, true);
      },
      "op"_a, "domain"_a, "record"_a, "write"_a, "Hands (fourcc, fields) to ``write(bytes)``.");
  m.def(
      "write_faiss_memory",
      [](const std::string& op, const std::string& domain, nb::object record) {
        return write_memory(op, domain, record);
      },
      "op"_a, "domain"_a, "record"_a, "(fourcc, fields) as a NumPy array of uint8.");
  m.def("borrow_lists", &borrow_lists, "lists"_a, "bytes"_a, "sizes"_a, "num_sizes"_a, "sparse"_a, "content"_a,
        nb::call_guard<nb::gil_scoped_release>(),
        "Fills empty InvertedLists with those of a file: the offset and number of their sizes, and of their content.");
  m.def("faiss_formats", &formats,
        "All that is known of the format: (fourcc, class, what it is, written, layout known, fields).");
}

}  // namespace metalfaiss
