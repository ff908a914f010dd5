#include "index/lists_view.h"

#include <algorithm>
#include <cstring>

namespace metalfaiss::index {

namespace {

// Entries of several lists, one behind the other.
InvertedList concatenated(const std::vector<InvertedLists::Snapshot>& parts, int64_t list, int64_t code_size) {
  int64_t size = 0, held = 0;
  InvertedList last;
  for (const auto& part : parts) {
    const InvertedList& some = (*part)[list];
    size += some.size;
    held += some.size > 0;
    last = some.size > 0 ? some : last;
  }
  if (held <= 1) {
    return last;
  }
  auto buffer = ListBuffer::allocate(size, code_size);
  buffer->claim(0, size);
  int64_t at = 0;
  for (const auto& part : parts) {
    const InvertedList& some = (*part)[list];
    if (some.size > 0) {
      std::memcpy(buffer->writable_codes() + at * code_size, some.codes(), some.size * code_size);
      std::memcpy(buffer->writable_ids() + at, some.ids(), some.size * sizeof(int64_t));
      at += some.size;
    }
  }
  return {buffer, size};
}

InvertedList cut(InvertedList list, int64_t size) {
  list.size = std::min(list.size, size);
  return list.size > 0 ? list : InvertedList{};
}

}  // namespace

std::vector<InvertedList> ListsView::seen(const Snapshots& parts, int64_t code_size) const {
  std::vector<InvertedList> out;
  switch (kind_) {
    case ListsViewKind::hstack:
      out.resize(parts[0]->size());
      cpu::parallel_for(static_cast<int64_t>(out.size()),
                        [&](int64_t i) { out[i] = concatenated(parts, i, code_size); });
      break;
    case ListsViewKind::vstack:
      for (const auto& part : parts) {
        out.insert(out.end(), part->begin(), part->end());
      }
      break;
    case ListsViewKind::slice:
      out.assign(parts[0]->begin() + first_, parts[0]->begin() + last_);
      break;
    case ListsViewKind::masked:
      for (size_t i = 0; i < parts[0]->size(); i++) {
        const InvertedList& list = (*parts[0])[i];
        out.push_back(list.size > 0 ? list : (*parts[1])[i]);
      }
      break;
    case ListsViewKind::stop_words:
      for (const InvertedList& list : *parts[0]) {
        out.push_back(list.size < last_ ? list : InvertedList{});
      }
      break;
    case ListsViewKind::capped:
      for (const InvertedList& list : *parts[0]) {
        out.push_back(cut(list, last_));
      }
      break;
  }
  return out;
}

std::shared_ptr<InvertedLists> ListsView::of(const std::vector<const InvertedLists*>& parts) {
  Snapshots now;
  for (const InvertedLists* part : parts) {
    now.push_back(part->snapshot());
  }
  std::lock_guard lock(mutex_);
  if (!seen_ || now != parts_) {
    int64_t code_size = parts[0]->code_size();
    seen_ = std::make_shared<InvertedLists>(seen(now, code_size), code_size);
    parts_ = std::move(now);
  }
  return seen_;
}

}  // namespace metalfaiss::index
