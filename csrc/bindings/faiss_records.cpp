#include "bindings/faiss_records.h"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstring>

#include "index/faiss_file/content.h"

namespace metalfaiss {

namespace {

namespace ff = faiss_file;
using index::InvertedLists;

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

}  // namespace

nb::object to_python(const faiss_file::Record& record) {
  nb::dict fields;
  for (size_t i = 0; i < record.values.size(); ++i) {
    if (record.values[i].present) {
      const ff::Field& field = record.layout->fields[i];
      fields[field.name.c_str()] = value(field, record.values[i]);
    }
  }
  return nb::make_tuple(record.layout->fourcc, record.layout->class_name, record.offset, fields);
}

ff::Bytes Borrowed::bytes(nb::handle array) {
  arrays.push_back(nb::cast<ByteArray>(array));
  return {arrays.back().data(), arrays.back().size()};
}

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

}  // namespace metalfaiss
