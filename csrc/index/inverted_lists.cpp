#include "index/inverted_lists.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "errors.h"
#include "index/blocks.h"

namespace metalfaiss::index {

namespace {

constexpr int64_t kEntriesPerTask = 1024;  // copied by one thread at a time

void copy_entries(const InvertedList& from, int64_t first, int64_t n, int64_t code_size, ListBuffer& to, int64_t at) {
  if (n > 0) {
    std::memcpy(to.writable_codes() + at * code_size, from.codes() + first * code_size, n * code_size);
    std::memcpy(to.writable_ids() + at, from.ids() + first, n * sizeof(int64_t));
  }
}

// Of the memory of a list: its ids lie behind its codes.
int64_t codes_bytes(int64_t capacity, int64_t code_size) {
  return (capacity * code_size + kBlockAlignment - 1) / kBlockAlignment * kBlockAlignment;
}
int64_t list_bytes(int64_t capacity, int64_t code_size) {
  return codes_bytes(capacity, code_size) + codes_bytes(capacity, sizeof(int64_t));
}

}  // namespace

ListBuffer::ListBuffer(uint8_t* codes, int64_t* ids, int64_t capacity, std::shared_ptr<const void> owner)
    : codes_(codes), ids_(ids), capacity_(capacity), owner_(std::move(owner)) {}

std::shared_ptr<ListBuffer> ListBuffer::allocate(int64_t capacity, int64_t code_size) {
  return ListSlab({capacity}, code_size).take(capacity);
}

void ListBuffer::borrow(const BorrowedList& list) {
  codes_ = const_cast<uint8_t*>(list.codes);
  ids_ = const_cast<int64_t*>(list.ids);
  capacity_ = list.size;
  used_ = list.size;
  borrowed_ = true;
}

bool ListBuffer::claim(int64_t size, int64_t n) {
  return !borrowed_ && size + n <= capacity_ && used_.compare_exchange_strong(size, size + n);
}

ListSlab::ListSlab(const std::vector<int64_t>& capacities, int64_t code_size) : code_size_(code_size) {
  int64_t bytes = 0;
  for (int64_t capacity : capacities) {
    bytes += list_bytes(capacity, code_size);
  }
  memory_ = allocate_block(static_cast<uint64_t>(bytes));
  next_ = memory_.get();
}

std::shared_ptr<ListBuffer> ListSlab::take(int64_t capacity) {
  uint8_t* codes = next_;
  next_ += list_bytes(capacity, code_size_);
  auto* ids = reinterpret_cast<int64_t*>(codes + codes_bytes(capacity, code_size_));
  return std::make_shared<ListBuffer>(codes, ids, capacity, memory_);
}

InvertedLists::InvertedLists(int64_t nlist, int64_t code_size)
    : nlist_(nlist), code_size_(code_size), lists_(std::make_shared<std::vector<InvertedList>>(nlist)) {}

InvertedLists::InvertedLists(std::vector<InvertedList> lists, int64_t code_size)
    : nlist_(static_cast<int64_t>(lists.size())),
      code_size_(code_size),
      lists_(std::make_shared<std::vector<InvertedList>>(std::move(lists))) {}

InvertedLists::InvertedLists(const InvertedLists& other) : nlist_(other.nlist_), code_size_(other.code_size_) {
  std::lock_guard lock(other.mutex_);
  lists_ = other.lists_;
}

InvertedLists::Snapshot InvertedLists::snapshot() const {
  std::lock_guard lock(mutex_);
  return lists_;
}

int64_t InvertedLists::compute_ntotal() const {
  int64_t total = 0;
  for (const InvertedList& list : *snapshot()) {
    total += list.size;
  }
  return total;
}

std::vector<InvertedList>& InvertedLists::writable() {
  if (lists_.use_count() > 1) {
    lists_ = std::make_shared<std::vector<InvertedList>>(*lists_);
  }
  return *lists_;
}

InvertedList InvertedLists::copied(const InvertedList& list, int64_t size, int64_t capacity) const {
  auto buffer = ListBuffer::allocate(capacity, code_size_);
  buffer->claim(0, size);
  copy_entries(list, 0, std::min(size, list.size), code_size_, *buffer, 0);
  return {buffer, size};
}

InvertedList InvertedLists::grown(const InvertedList& list, int64_t n, ListSlab* slab) const {
  if (slab && list.size == 0) {
    auto buffer = slab->take(n);
    buffer->claim(0, n);
    return {buffer, n};
  }
  if (list.buffer && list.buffer->claim(list.size, n)) {
    return {list.buffer, list.size + n};
  }
  int64_t size = list.size + n;
  return copied(list, size, list.size == 0 ? size : std::max(size, list.size + list.size / 2));
}

void InvertedLists::add(int64_t n, const int64_t* assign, const int64_t* ids, const uint8_t* codes, int64_t* places) {
  std::vector<int64_t> own_places;
  if (!places) {
    own_places.resize(n);
    places = own_places.data();
  }
  std::vector<std::pair<int64_t, InvertedList>> changed;
  std::lock_guard lock(mutex_);
  std::vector<int64_t> count(nlist_);
  for (int64_t i = 0; i < n; i++) {
    if (assign[i] >= nlist_) {
      throw ArgumentError("[IndexIVF.add] The quantizer must name lists from 0 to " + std::to_string(nlist_ - 1) +
                          ". Received " + std::to_string(assign[i]) + ".");
    }
    if (assign[i] >= 0) {
      count[assign[i]]++;
    }
  }
  std::vector<int64_t> new_sizes;
  for (int64_t list = 0; list < nlist_; list++) {
    if (count[list] && (*lists_)[list].size == 0) {
      new_sizes.push_back(count[list]);
    }
  }
  ListSlab slab(new_sizes, code_size_);
  for (int64_t list = 0; list < nlist_; list++) {
    if (count[list]) {
      changed.emplace_back(list, grown((*lists_)[list], count[list], &slab));
      count[list] = (*lists_)[list].size;  // from here on the next free offset
    }
  }
  std::vector<ListBuffer*> buffers(nlist_);
  for (auto& [list, after] : changed) {
    buffers[list] = after.buffer.get();
  }
  for (int64_t i = 0; i < n; i++) {
    places[i] = assign[i] < 0 ? -1 : pack_place(assign[i], count[assign[i]]++);
  }
  std::vector<InvertedList>& lists = writable();
  cpu::parallel_for((n + kEntriesPerTask - 1) / kEntriesPerTask, [&](int64_t task) {
    for (int64_t i = task * kEntriesPerTask; i < std::min(n, (task + 1) * kEntriesPerTask); i++) {
      if (places[i] >= 0) {
        ListBuffer& to = *buffers[list_of(places[i])];
        int64_t at = offset_of(places[i]);
        std::memcpy(to.writable_codes() + at * code_size_, codes + i * code_size_, code_size_);
        to.writable_ids()[at] = ids[i];
      }
    }
  });
  for (auto& [list, after] : changed) {
    std::swap(lists[list], after);
  }
}

void InvertedLists::add_entries(int64_t list, int64_t n, const int64_t* ids, const uint8_t* codes) {
  if (n == 0) {
    return;
  }
  InvertedList after;
  std::lock_guard lock(mutex_);
  after = grown(lists_->at(list), n);
  int64_t at = after.size - n;
  std::memcpy(after.buffer->writable_codes() + at * code_size_, codes, n * code_size_);
  std::memcpy(after.buffer->writable_ids() + at, ids, n * sizeof(int64_t));
  std::swap(writable()[list], after);
}

void InvertedLists::update_entries(int64_t list, int64_t offset, int64_t n, const int64_t* ids, const uint8_t* codes) {
  if (n == 0) {
    return;
  }
  InvertedList before;
  std::lock_guard lock(mutex_);
  InvertedList& now = writable().at(list);
  if (now.buffer.use_count() > 1 || now.buffer->borrowed()) {
    before = std::exchange(now, copied(now, now.size, now.size));
  }
  std::memcpy(now.buffer->writable_codes() + offset * code_size_, codes, n * code_size_);
  std::memcpy(now.buffer->writable_ids() + offset, ids, n * sizeof(int64_t));
}

void InvertedLists::resize(int64_t list, int64_t n) {
  InvertedList after;
  std::lock_guard lock(mutex_);
  const InvertedList& now = lists_->at(list);
  if (n > now.size) {
    int64_t size = now.size;
    after = grown(now, n - size);
    std::memset(after.buffer->writable_codes() + size * code_size_, 0, (n - size) * code_size_);
    std::fill(after.buffer->writable_ids() + size, after.buffer->writable_ids() + n, -1);
  } else if (n > 0) {
    after = {now.buffer, n};  // what follows stays claimed: a later append copies
  }
  std::swap(writable()[list], after);
}

void InvertedLists::reset() {
  auto lists = std::make_shared<std::vector<InvertedList>>(nlist_);
  std::lock_guard lock(mutex_);
  lists_.swap(lists);
}

void InvertedLists::merge_from(InvertedLists& other, int64_t add_id) {
  Snapshot from = other.snapshot(), before;
  {
    std::lock_guard lock(mutex_);
    std::vector<InvertedList> after(*lists_);
    cpu::parallel_for(nlist_, [&](int64_t i) {
      const InvertedList& more = (*from)[i];
      if (more.size == 0) {
        return;
      }
      after[i] = grown(after[i], more.size);
      int64_t at = after[i].size - more.size;
      copy_entries(more, 0, more.size, code_size_, *after[i].buffer, at);
      int64_t* ids = after[i].buffer->writable_ids() + at;
      for (int64_t j = 0; j < more.size; j++) {
        ids[j] += add_id;
      }
    });
    before = std::exchange(lists_, std::make_shared<std::vector<InvertedList>>(std::move(after)));
  }
  other.reset();
}

int64_t InvertedLists::remove(Members members) {
  Snapshot before;
  std::lock_guard lock(mutex_);
  std::vector<InvertedList> after(*lists_);
  std::atomic<int64_t> removed{0};
  cpu::parallel_for(nlist_, [&](int64_t i) {
    const InvertedList now = after[i];
    std::vector<uint8_t> goes(now.size);
    if (now.size) {
      members(now.ids(), now.size, goes.data());
    }
    if (std::find_if(goes.begin(), goes.end(), [](uint8_t g) { return g != 0; }) == goes.end()) {
      return;
    }
    InvertedList kept = copied(now, now.size, now.size);
    uint8_t* codes = kept.buffer->writable_codes();
    int64_t* ids = kept.buffer->writable_ids();
    int64_t size = now.size;
    for (int64_t j = 0; j < size;) {
      if (goes[j]) {
        size--;
        ids[j] = ids[size];
        goes[j] = goes[size];
        std::memmove(codes + j * code_size_, codes + size * code_size_, code_size_);
      } else {
        j++;
      }
    }
    removed += now.size - size;
    after[i] = size ? InvertedList{kept.buffer, size} : InvertedList{};
  });
  before = std::exchange(lists_, std::make_shared<std::vector<InvertedList>>(std::move(after)));
  return removed;
}

int64_t InvertedLists::remove_at(int64_t list, int64_t offset) {
  InvertedList before;
  std::lock_guard lock(mutex_);
  InvertedList& now = writable().at(list);
  int64_t last = now.size - 1, moved = -1;
  if (offset < last) {
    if (now.buffer.use_count() > 1 || now.buffer->borrowed()) {
      before = std::exchange(now, copied(now, now.size, now.size));
    }
    moved = now.ids()[last];
    now.buffer->writable_ids()[offset] = moved;
    std::memcpy(now.buffer->writable_codes() + offset * code_size_, now.codes() + last * code_size_, code_size_);
  }
  now.size = last;
  return moved;
}

void InvertedLists::permute(const int64_t* order) {
  auto after = std::make_shared<std::vector<InvertedList>>(nlist_);
  std::lock_guard lock(mutex_);
  for (int64_t i = 0; i < nlist_; i++) {
    (*after)[i] = (*lists_)[order[i]];
  }
  lists_.swap(after);
}

void InvertedLists::borrow(std::span<const BorrowedList> lists, std::shared_ptr<const void> owner) {
  struct Buffers {  // in one piece, since a file is mapped in the time that as many allocations take
    std::vector<ListBuffer> each;
    std::shared_ptr<const void> owner;
  };
  auto buffers = std::make_shared<Buffers>(Buffers{std::vector<ListBuffer>(lists.size()), std::move(owner)});
  std::lock_guard lock(mutex_);
  std::vector<InvertedList>& out = writable();
  for (size_t i = 0; i < lists.size(); i++) {
    const BorrowedList& list = lists[i];
    buffers->each[i].borrow(list);
    out[list.list] = list.size > 0 ? InvertedList{std::shared_ptr<ListBuffer>(buffers, &buffers->each[i]), list.size}
                                   : InvertedList{};
  }
}

}  // namespace metalfaiss::index
