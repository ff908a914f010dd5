// What must agree with what inside of a record: conditions of fields, and the rules behind `!`.
#include <optional>

#include "index/faiss_file/arithmetic.h"
#include "index/faiss_file/file_error.h"
#include "index/faiss_file/record.h"

namespace metalfaiss::faiss_file {

namespace {

struct Operand {
  uint64_t number;
  uint64_t offset;
};

Operand operand(const char* op, const Record& record, const Field& field, const Value& value) {
  bool is_signed = field.type == Type::i4 || field.type == Type::i8;
  if (!field.array && is_signed && static_cast<int64_t>(value.bits) < 0) {
    throw FileError("[" + std::string(op) + "] " + field.name + " must not be negative. Received " +
                        std::to_string(static_cast<int64_t>(value.bits)) + " (" + record.layout->fourcc + ", byte " +
                        std::to_string(value.offset) + ").",
                    value.offset);
  }
  return {field.array ? value.bytes.size : value.bits, value.offset};
}

// Nothing if the record, or its child, lacks the field: a null index has no dimension.
std::optional<Operand> evaluate(const char* op, const Record& record, const Term& term) {
  if (term.name.empty()) {
    return Operand{term.number, record.offset};
  }
  if (term.field < 0 || !record.values[term.field].present) {
    return std::nullopt;
  }
  const Value& value = record.values[term.field];
  if (term.child_field.empty()) {
    return operand(op, record, record.layout->fields[term.field], value);
  }
  const Record& child = value.children[0];
  int at = child.layout->find(term.child_field);
  if (at < 0 || !child.values[at].present) {
    return std::nullopt;
  }
  return operand(op, child, child.layout->fields[at], child.values[at]);
}

void check(const char* op, const Record& record, const Rule& rule) {
  std::optional<Operand> left = evaluate(op, record, rule.left);
  if (!left) {
    return;
  }
  uint64_t right = 1;
  for (const Term& term : rule.right) {
    std::optional<Operand> factor = evaluate(op, record, term);
    if (!factor) {
      return;
    }
    right = times(right, factor->number);
  }
  bool holds =
      left->number == right || (rule.sign == '~' && left->number == 0) || (rule.sign == '<' && left->number < right);
  if (!holds) {
    size_t sign = rule.text.find_first_of("=~<");
    throw FileError("[" + std::string(op) + "] " + rule.text.substr(0, sign) +
                        (rule.sign == '<' ? " must be at most " : " must be ") + rule.text.substr(sign + 1) +
                        (right == kTooMany || rule.right[0].name.empty() ? "" : ": " + std::to_string(right)) +
                        ". Received " + std::to_string(left->number) + " (" + record.layout->fourcc + ", byte " +
                        std::to_string(left->offset) + ").",
                    left->offset);
  }
}

}  // namespace

bool holds(const Condition& condition, const std::vector<Value>& values) {
  if (condition.field < 0) {
    return true;
  }
  const Value& value = values[condition.field];
  if (!value.present) {
    return false;
  }
  for (const std::string& fourcc : condition.fourccs) {
    if (value.children[0].layout->fourcc == fourcc) {
      return true;
    }
  }
  if (condition.more) {
    return static_cast<int64_t>(value.bits) > static_cast<int64_t>(condition.numbers[0]);
  }
  for (uint64_t number : condition.numbers) {
    if (value.bits == number) {
      return true;
    }
  }
  return condition.numbers.empty() && condition.fourccs.empty() && value.bits != 0;
}

void check_rules(const char* op, const Record& record) {
  for (const Rule& rule : record.layout->rules) {
    check(op, record, rule);
  }
}

}  // namespace metalfaiss::faiss_file
