// What follows a fourcc, as data: the reader and the writer are both driven by it, so that each format is stated once.
//
// A layout is written as words (layouts.cpp):
//
//   GROUP                  the fields of another layout, in place
//   name:type              a field; the types are in `Type`
//   name:type[]            a size_t count, then that many elements
//   name:GROUP             a nested record without a fourcc
//   name:index             a nested record with a fourcc of that domain; also binary, transform, lists
//   name:transform[count]  as many as the field `count` says
//   ...?field, ?field>1, ?field=1|2, ?child=IwPQ|IwQR    only there if the field read before says so
//   !a=b*c  !a~b*c  !a<b   must be equal, (~) zero or equal, (<) at most: integers, arrays (their bytes), numbers,
//                          child.field
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace metalfaiss::faiss_file {

enum class Domain : uint8_t { index, binary, transform, lists, group };

enum class Type : uint8_t {
  i4,
  u4,
  i8,
  u8,
  u1,
  flag,  // b: one byte, 0 or 1
  f4,
  f8,
  c4,       // four characters
  x4,       // bytes, counted in fours
  pair,     // two int64
  triple,   // three uint64
  record,   // one or more nested records
  content,  // of inverted lists: for each list that is not empty, codes and ids, as the sizes before say
  vectors,  // for each of n: a vector of int64, a vector of bytes; or one of these, or one of floats
  graph,    // for each of n: neighbours, int32, ended by -1
};

// The bytes of an element, or of the scalar.
constexpr uint64_t size_of(Type type) {
  switch (type) {
    case Type::i8:
    case Type::u8:
    case Type::f8:
      return 8;
    case Type::u1:
    case Type::flag:
      return 1;
    case Type::pair:
      return 16;
    case Type::triple:
      return 24;
    case Type::x4:
    case Type::i4:
    case Type::u4:
    case Type::f4:
    case Type::c4:
      return 4;
    default:
      return 0;
  }
}

struct Layout;

struct Condition {
  int field = -1;     // none: always
  bool more = false;  // field > numbers[0]
  std::vector<uint64_t> numbers;
  std::vector<std::string> fourccs;
};

struct Field {
  std::string name;
  Type type;
  bool array = false;
  int count_field = -1;                // of repeated records, vectors and graphs
  Domain domain = Domain::group;       // of nested records
  const Layout* group = nullptr;       // of nested records without a fourcc
  std::vector<uint8_t> element_sizes;  // of `vectors`
  Condition condition;
};

// One factor: a number, a field, or a field of a child.
struct Term {
  uint64_t number = 0;
  std::string name;  // empty: the number
  int field = -1;    // of that name; -1: the layout has none
  std::string child_field;
};

struct Rule {
  std::string text;
  char sign = '=';
  Term left;
  std::vector<Term> right;
};

struct Layout {
  std::string fourcc;  // empty for a group
  Domain domain = Domain::group;
  std::string class_name;
  std::vector<Field> fields;
  std::vector<Rule> rules;
  bool written = true;  // FAISS's present form; older ones are read only
  bool known = true;    // else nothing but the name is

  int find(std::string_view name) const;  // -1 if there is none
};

// Null if the domain has no such fourcc.
const Layout* find_layout(Domain domain, std::string_view fourcc);

const std::vector<Layout>& layouts();

const char* domain_name(Domain domain);

}  // namespace metalfaiss::faiss_file
