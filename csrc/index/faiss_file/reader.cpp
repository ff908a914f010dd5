#include "index/faiss_file/reader.h"

#include <cstring>
#include <string>

#include "index/faiss_file/arithmetic.h"
#include "index/faiss_file/content.h"

namespace metalfaiss::faiss_file {

namespace {

bool is_signed(Type type) {
  return type == Type::i4 || type == Type::i8;
}

class Reader {
 public:
  Reader(const char* op, Source& source) : op_(op), source_(source), available_(source.reach(0)) {}

  Record record(Domain domain) {
    uint64_t start = at_;
    std::string fourcc(reinterpret_cast<const char*>(take(4, "a fourcc")), 4);
    const Layout* layout = find_layout(domain, fourcc);
    if (layout == nullptr) {
      fail("There must be the fourcc of " + std::string(domain_name(domain)) + ". Received \"" + printable(fourcc) +
               "\"",
           start);
    }
    if (!layout->known) {
      throw UnknownFormat("[" + std::string(op_) +
                              "] The index must be of a type that can be read. Received a file of " +
                              layout->class_name + " (" + fourcc + ", byte " + std::to_string(start) + ").",
                          start);
    }
    return fields(*layout, start);
  }

  uint64_t at() const { return at_; }

  // Views are offsets until all is read, since a stream's bytes move while they grow.
  void settle(Record& record) const {
    for (Value& value : record.values) {
      value.bytes.data = source_.data() + value.begin;
      for (Record& child : value.children) {
        settle(child);
      }
    }
  }

 private:
  Record fields(const Layout& layout, uint64_t start) {
    if (++depth_ > kMaxDepth) {
      fail("Records must be nested at most " + std::to_string(kMaxDepth) + " deep. Received more", start);
    }
    layout_ = &layout;
    charge(sizeof(Record) + layout.fields.size() * sizeof(Value));
    Record record{&layout, start, std::vector<Value>(layout.fields.size())};
    for (size_t i = 0; i < layout.fields.size(); ++i) {
      if (holds(layout.fields[i].condition, record.values)) {
        value(layout.fields[i], record, record.values[i]);
        record.values[i].present = true;
      }
    }
    check_rules(op_, record);
    --depth_;
    return record;
  }

  void value(const Field& field, Record& record, Value& out) {
    out.offset = at_;
    switch (field.type) {
      case Type::record:
        children(field, record, out);
        break;
      case Type::content:
        content(record, out);
        break;
      case Type::vectors:
        vectors(field, count(field, record), out);
        break;
      case Type::graph:
        graph(count(field, record), out);
        break;
      default:
        field.array ? array(field, out) : scalar(field, out);
    }
    layout_ = record.layout;
  }

  void scalar(const Field& field, Value& out) {
    uint64_t size = size_of(field.type);
    std::memcpy(&out.bits, take(size, field.name.c_str()), size);
    if (field.type == Type::flag && out.bits > 1) {
      fail(field.name + " must be 0 or 1. Received " + std::to_string(out.bits), out.offset);
    }
    if (is_signed(field.type) && size == 4) {
      out.bits = static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(out.bits)));
    }
  }

  void array(const Field& field, Value& out) {
    uint64_t bytes = times(number(field.name.c_str()), size_of(field.type));
    view(out, bytes, field.name.c_str());
  }

  void children(const Field& field, const Record& record, Value& out) {
    uint64_t n = field.count_field < 0 ? 1 : count(field, record);
    for (uint64_t i = 0; i < n; ++i) {
      if (out.children.size() == out.children.capacity()) {  // both copies are there while it grows
        charge((out.children.size() + 1) * 2 * sizeof(Record));
        out.children.reserve(out.children.size() * 2 + 1);
      }
      out.children.push_back(field.group ? fields(*field.group, at_) : this->record(field.domain));
    }
  }

  void content(Record& record, Value& out) {
    settle(record);
    ListSizes lists(op_, record);
    uint64_t total = 0;
    while (lists.next()) {
      ListShape shape = lists.shape();
      total = plus(total, plus(shape.codes, plus(shape.ids, shape.sums)));
      out.bits = plus(out.bits, lists.size());
    }
    view(out, total, "the content of the lists");
  }

  void vectors(const Field& field, uint64_t n, Value& out) {
    uint64_t start = at_;
    for (uint64_t i = 0; i < n; ++i) {
      for (uint8_t size : field.element_sizes) {
        take(times(number(field.name.c_str()), size), field.name.c_str());
      }
    }
    out.begin = start;
    out.bytes.size = at_ - start;
  }

  void graph(uint64_t n, Value& out) {
    uint64_t start = at_;
    for (uint64_t i = 0; i < n; ++i) {
      int32_t neighbour = 0;
      while (neighbour != -1) {
        std::memcpy(&neighbour, take(4, "the graph"), 4);
      }
    }
    out.begin = start;
    out.bytes.size = at_ - start;
  }

  uint64_t count(const Field& field, const Record& record) {
    const Field& counter = record.layout->fields[field.count_field];
    const Value& value = record.values[field.count_field];
    if (is_signed(counter.type) && static_cast<int64_t>(value.bits) < 0) {
      fail(counter.name + " must not be negative. Received " + std::to_string(static_cast<int64_t>(value.bits)),
           value.offset);
    }
    return value.bits;
  }

  uint64_t number(const char* what) {
    uint64_t value = 0;
    std::memcpy(&value, take(8, what), 8);
    return value;
  }

  void view(Value& out, uint64_t size, const char* what) {
    out.begin = at_;
    out.bytes.size = size;
    take(size, what);
  }

  // The next bytes, which must be there. Valid until more are taken.
  const uint8_t* take(uint64_t size, const char* what) {
    uint64_t end = plus(at_, size);
    if (end > available_) {
      available_ = source_.reach(end);
    }
    if (end > available_) {
      fail("The file must have " + (size == kTooMany ? "fewer than 2^64" : std::to_string(size)) + " more bytes for " +
               what + ". Received " + std::to_string(available_ - at_),
           at_);
    }
    at_ = end;
    return source_.data() + (end - size);
  }

  void charge(uint64_t bytes) {
    charged_ += bytes;
    if (charged_ > plus(available_, kRecordBudget)) {
      fail("Records must not take more memory than the file has bytes. Received more", at_);
    }
  }

  static std::string printable(const std::string& fourcc) {
    std::string out;
    for (unsigned char c : fourcc) {
      constexpr char kHex[] = "0123456789abcdef";
      out +=
          c >= 32 && c < 127 ? std::string(1, static_cast<char>(c)) : std::string("\\x") + kHex[c >> 4] + kHex[c & 15];
    }
    return out;
  }

  [[noreturn]] void fail(const std::string& message, uint64_t at) const {
    std::string where = layout_ == nullptr ? "" : layout_->fourcc + ", ";
    throw FileError("[" + std::string(op_) + "] " + message + " (" + where + "byte " + std::to_string(at) + ").", at);
  }

  const char* op_;
  Source& source_;
  uint64_t available_;
  uint64_t at_ = 0;
  uint64_t charged_ = 0;
  int depth_ = 0;
  const Layout* layout_ = nullptr;  // for messages
};

}  // namespace

Record read(const char* op, Domain domain, Source& source, uint64_t* end) {
  Reader reader(op, source);
  Record record = reader.record(domain);
  reader.settle(record);
  if (end != nullptr) {
    *end = reader.at();
  }
  return record;
}

}  // namespace metalfaiss::faiss_file
