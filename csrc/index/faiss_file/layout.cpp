// Compiles the words of layouts.cpp, once.
#include "index/faiss_file/layout.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <stdexcept>
#include <utility>

#include "index/faiss_file/layouts.h"

namespace metalfaiss::faiss_file {

namespace {

std::vector<std::string_view> split(std::string_view text, char by) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    size_t end = std::min(text.find(by), text.size());
    if (end > 0) {
      parts.push_back(text.substr(0, end));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

bool is_number(std::string_view text) {
  return text[0] >= '0' && text[0] <= '9';
}

uint64_t number(std::string_view text) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

[[noreturn]] void wrong(std::string_view word) {
  throw std::logic_error("layouts.cpp: " + std::string(word));  // a test compiles them all
}

Domain domain_of(char c) {
  switch (c) {
    case 'i':
      return Domain::index;
    case 'b':
      return Domain::binary;
    case 't':
      return Domain::transform;
    case 'l':
      return Domain::lists;
    default:
      return Domain::group;
  }
}

const std::map<std::string_view, Type> kTypes = {
    {"i4", Type::i4},           {"u4", Type::u4},       {"i8", Type::i8},     {"u8", Type::u8},
    {"u1", Type::u1},           {"b", Type::flag},      {"f4", Type::f4},     {"f8", Type::f8},
    {"c4", Type::c4},           {"x4", Type::x4},       {"pair", Type::pair}, {"triple", Type::triple},
    {"content", Type::content}, {"graph", Type::graph},
};

const std::map<std::string_view, Domain> kDomains = {
    {"index", Domain::index}, {"binary", Domain::binary}, {"transform", Domain::transform}, {"lists", Domain::lists}};

// All layouts, groups first: a group is found by its name among those compiled before.
class Compiler {
 public:
  std::vector<Layout> run() {
    std::vector<Layout> all;
    size_t count = 0;
    for (int i = 0; i < kNumLayouts; ++i) {
      count += split(kLayouts[i].fourccs, ' ').size();
    }
    all.reserve(count);  // groups are pointed to
    for (int i = 0; i < kNumLayouts; ++i) {
      for (std::string_view fourcc : split(kLayouts[i].fourccs, ' ')) {
        bool old = fourcc[0] == '-';
        all.push_back(compile(fourcc.substr(old), kLayouts[i]));
        all.back().written = !old;
        if (all.back().domain == Domain::group) {
          groups_[fourcc] = &all.back();
        }
      }
    }
    return all;
  }

 private:
  Layout compile(std::string_view fourcc, const LayoutText& text) {
    Layout layout;
    layout.fourcc = fourcc;
    layout.domain = domain_of(text.domain);
    layout.class_name = text.class_name;
    for (std::string_view word : split(text.words, ' ')) {
      add(layout, word);
    }
    for (Rule& rule : layout.rules) {
      rule.left.field = layout.find(rule.left.name);
      for (Term& term : rule.right) {
        term.field = layout.find(term.name);
      }
    }
    return layout;
  }

  void add(Layout& layout, std::string_view word) {
    if (word == "unknown") {
      layout.fields.clear();
      layout.known = false;
    } else if (word[0] == '!') {
      layout.rules.push_back(rule(word.substr(1)));
    } else if (size_t colon = word.find(':'); colon != word.npos) {
      layout.fields.push_back(field(layout, word.substr(0, colon), word.substr(colon + 1)));
    } else {
      include(layout, group(word));
    }
  }

  const Layout& group(std::string_view name) {
    auto found = groups_.find(name);
    return found == groups_.end() ? (wrong(name), *found->second) : *found->second;
  }

  // Rules go by names; conditions and counts by position, which moves.
  void include(Layout& layout, const Layout& from) {
    int shift = static_cast<int>(layout.fields.size());
    for (Field f : from.fields) {
      f.condition.field += f.condition.field >= 0 ? shift : 0;
      f.count_field += f.count_field >= 0 ? shift : 0;
      layout.fields.push_back(std::move(f));
    }
    layout.rules.insert(layout.rules.end(), from.rules.begin(), from.rules.end());
  }

  Field field(const Layout& layout, std::string_view name, std::string_view type) {
    Field f;
    f.name = name;
    if (size_t at = type.find('?'); at != type.npos) {
      f.condition = condition(layout, type.substr(at + 1));
      type = type.substr(0, at);
    }
    if (size_t at = type.find('['); at != type.npos) {
      std::string_view count = type.substr(at + 1, type.size() - at - 2);
      f.array = count.empty();
      f.count_field = count.empty() ? -1 : require(layout, count);
      type = type.substr(0, at);
    }
    if (auto scalar = kTypes.find(type); scalar != kTypes.end()) {
      f.type = scalar->second;
    } else if (type.substr(0, 8) == "vectors(") {
      f.type = Type::vectors;
      for (std::string_view size : split(type.substr(8, type.size() - 9), ',')) {
        f.element_sizes.push_back(static_cast<uint8_t>(number(size)));
      }
    } else if (auto child = kDomains.find(type); child != kDomains.end()) {
      f.type = Type::record;
      f.domain = child->second;
    } else {
      f.type = Type::record;
      f.group = &group(type);
    }
    return f;
  }

  Condition condition(const Layout& layout, std::string_view text) {
    Condition c;
    size_t op = text.find_first_of("=>");
    c.field = require(layout, text.substr(0, op));
    c.more = op != text.npos && text[op] == '>';
    for (std::string_view value : op == text.npos ? std::vector<std::string_view>{} : split(text.substr(op + 1), '|')) {
      is_number(value) ? c.numbers.push_back(number(value)) : c.fourccs.push_back(std::string(value));
    }
    return c;
  }

  Rule rule(std::string_view text) {
    size_t op = text.find_first_of("=~<");
    Rule r;
    r.text = text;
    r.sign = text[op];
    r.left = term(text.substr(0, op));
    for (std::string_view factor : split(text.substr(op + 1), '*')) {
      r.right.push_back(term(factor));
    }
    return r;
  }

  Term term(std::string_view text) {
    Term t;
    if (is_number(text)) {
      t.number = number(text);
      return t;
    }
    size_t dot = text.find('.');
    t.name = text.substr(0, dot);
    t.child_field = dot == text.npos ? "" : text.substr(dot + 1);
    return t;
  }

  int require(const Layout& layout, std::string_view name) {
    int at = layout.find(name);
    return at >= 0 ? at : (wrong(name), -1);
  }

  std::map<std::string_view, const Layout*> groups_;
};

}  // namespace

int Layout::find(std::string_view name) const {
  for (size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].name == name) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

const std::vector<Layout>& layouts() {
  static const std::vector<Layout> all = Compiler().run();
  return all;
}

const Layout* find_layout(Domain domain, std::string_view fourcc) {
  using Key = std::pair<Domain, std::string_view>;
  static const std::map<Key, const Layout*> found = [] {
    std::map<Key, const Layout*> map;
    for (const Layout& layout : layouts()) {
      map[{layout.domain, layout.fourcc}] = &layout;
    }
    return map;
  }();
  auto at = found.find({domain, fourcc});
  return at == found.end() ? nullptr : at->second;
}

const char* domain_name(Domain domain) {
  switch (domain) {
    case Domain::index:
      return "an index";
    case Domain::binary:
      return "a binary index";
    case Domain::transform:
      return "a vector transform";
    case Domain::lists:
      return "inverted lists";
    default:
      return "a group";
  }
}

}  // namespace metalfaiss::faiss_file
