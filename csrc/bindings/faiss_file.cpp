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
#include "bindings/faiss_records.h"
#include "index/faiss_file/reader.h"
#include "index/faiss_file/writer.h"
#include "index/file_bytes.h"

namespace metalfaiss {

namespace {

namespace ff = faiss_file;
using index::FileBytes;
using FileBytesPtr = std::shared_ptr<FileBytes>;

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

// --------------------------------------------------------------------------------------------------- sources, sinks

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
  void write(std::span<const ff::Bytes> pieces) override {
    iovec parts[ff::kPieces];
    for (size_t i = 0; i < pieces.size(); ++i) {
      parts[i] = {const_cast<uint8_t*>(pieces[i].data), pieces[i].size};
    }
    index::write_all(fd, {parts, pieces.size()});
  }
  int fd;
};

struct MemorySink : ff::Sink {
  explicit MemorySink(uint8_t* to) : to(to) {}
  void write(std::span<const ff::Bytes> pieces) override {
    for (auto [data, size] : pieces) {
      std::memcpy(to, data, size);
      to += size;
    }
  }
  uint8_t* to;
};

struct CallbackSink : ff::Sink {
  explicit CallbackSink(nb::callable write) : callback(std::move(write)) {}
  void write(std::span<const ff::Bytes> pieces) override {
    constexpr uint64_t kMost = 1 << 20;
    for (auto [data, size] : pieces) {
      for (uint64_t at = 0; at < size; at += kMost) {
        callback(nb::bytes(data + at, std::min(kMost, size - at)));
      }
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

void write_file(const std::string& op, const std::string& domain, nb::handle record, int fd) {
  Borrowed borrowed;
  ff::Record made = from_python(domain_of(domain), record, nullptr, borrowed);
  nb::gil_scoped_release release;
  FileSink sink(fd);
  index::reserve(fd, ff::size(made));
  ff::write(op.c_str(), made, sink);
}

void write_callback(const std::string& op, const std::string& domain, nb::handle record, WriteCallback write) {
  Borrowed borrowed;
  ff::Record made = from_python(domain_of(domain), record, nullptr, borrowed);
  CallbackSink sink(std::move(write));
  ff::write(op.c_str(), made, sink);
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
  m.def("read_faiss_bytes", &read_bytes, "op"_a, "domain"_a, "bytes"_a, "start"_a,
        "The record at ``start``, and how many bytes it takes: ((fourcc, class, offset, fields), end).");
  m.def("read_faiss_stream", &read_stream, "op"_a, "domain"_a, "read"_a,
        "The record that ``read(n) -> bytes`` delivers, and its bytes; no more is read than it takes.");
  m.def("write_faiss_fd", &write_file, "op"_a, "domain"_a, "record"_a, "fd"_a,
        "Writes (fourcc, fields) to an open file.");
  m.def("write_faiss_callback", &write_callback, "op"_a, "domain"_a, "record"_a, "write"_a,
        "Hands (fourcc, fields) to ``write(bytes)``.");
  m.def(
      "write_faiss_memory",
      [](const std::string& op, const std::string& domain, nb::object record) {
        return write_memory(op, domain, record);
      },
      "op"_a, "domain"_a, "record"_a, "(fourcc, fields) as a NumPy array of uint8.");
  m.def("faiss_formats", &formats,
        "All that is known of the format: (fourcc, class, what it is, written, layout known, fields).");
}

}  // namespace metalfaiss
