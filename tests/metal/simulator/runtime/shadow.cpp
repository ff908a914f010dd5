// The shadow of memory: who touched each granule, and what that says of an access.
#include <algorithm>

#include "state.h"

namespace sim {

// Halves the granule until the access consists of whole granules: the cells then say what they said before.
void refine(Memory& m, uint64_t at, uint64_t size) {
  int shift = std::min<int>(m.shift, __builtin_ctzll(at | size));
  uint64_t old = ((m.bytes - 1) >> m.shift) + 1, n = old << (m.shift - shift);
  if (m.cells) {
    Cell* cells = take_cells(n);
    for (uint64_t i = 0; i < n; i++) {
      cells[i] = m.cells[i >> (m.shift - shift)];
    }
    m.cells = cells;
  } else {
    uint32_t* touched = g.touched + g.next_touched;
    g.next_touched += n;
    for (uint64_t i = 0; i < n; i++) {
      touched[i] = m.touched[i >> (m.shift - shift)];
    }
    m.touched = touched;
  }
  m.shift = shift;
}

namespace {

int index_of(const Memory& m) {
  return static_cast<int>(&m - g.memories);
}

Finding* report(What what, const Memory& m, uint64_t at, uint64_t size, bool is_write, uint64_t pc) {
  Finding* f = find(what, pc);
  if (f) {
    f->memory = index_of(m);
    f->offset = static_cast<int64_t>(at);
    f->size = static_cast<int32_t>(size);
    f->is_write = is_write;
  }
  return f;
}

void report_race(What what, const Memory& m, uint64_t at, uint64_t size, bool is_write, uint64_t pc, Who other,
                 uint32_t other_pc, bool other_is_write) {
  if (Finding* f = report(what, m, at, size, is_write, pc)) {
    f->other_thread = thread_of(other);
    f->other_pc = g.image_begin + other_pc;
    f->other_is_write = other_is_write;
  }
}

[[noreturn, gnu::cold, gnu::noinline]] void out_of_bounds(uint64_t address, uint64_t size, bool is_write, uint64_t pc) {
  // The nearest memory is what the address was meant for.
  const Memory* nearest = nullptr;
  uint64_t best = ~0ull;
  for (int i = 1; i < g.memory_count; i++) {
    const Memory& m = g.memories[i];
    auto begin = reinterpret_cast<uint64_t>(m.begin), end = begin + m.bytes;
    uint64_t distance = address < begin ? begin - address : address + size > end ? address + size - end : 0;
    if (m.mode && distance < best) {
      best = distance;
      nearest = &m;
    }
  }
  bool near = nearest && best < (64u << 20);
  if (Finding* f = find(near ? What::out_of_bounds : What::wild, pc)) {
    f->memory = near ? index_of(*nearest) : 0;
    f->offset = static_cast<int64_t>(address - (near ? reinterpret_cast<uint64_t>(nearest->begin) : 0));
    f->size = static_cast<int32_t>(size);
    f->is_write = is_write;
  }
  abort_launch();
}

// Memory outside of the arena: stacks and what the kernel file declares itself.
[[gnu::noinline]] void foreign(uint64_t address, uint64_t size, bool is_write, uint64_t pc) {
  auto stack = reinterpret_cast<uint64_t>(g.stacks_begin);
  if (address >= stack && address < reinterpret_cast<uint64_t>(g.stacks_end)) {
    return;
  }
  if (!is_write && address >= g.image_begin && address + size <= g.image_end) {
    return;
  }
  out_of_bounds(address, size, is_write, pc);
}

struct Access {
  Memory& m;
  uint64_t at, size, pc;
  Who who;
  uint32_t epoch, sub;

  // Whether what the other did is ordered before this access, given the same interval between barriers.
  bool ordered(Who other, uint32_t other_sub) const {
    if ((other & who & kAtomic) != 0) {
      return true;
    }
    Who a = other & 0x7fff, b = who & 0x7fff;
    return (a == b && (a & 63) != kSeveral && a != kManyThreads) ||
           (a != kManyThreads && simdgroup_of(a) == simdgroup_of(b) && other_sub < sub);
  }

  uint32_t pc32() const { return static_cast<uint32_t>(pc - g.image_begin); }

  bool of_earlier_group(uint32_t e) const { return e >= g.launch_start && e < g.group_start; }

  void check_writer(const Cell& c, bool is_write) const {
    if (c.write_epoch == epoch) {
      if (!ordered(c.writer, c.write_sub)) [[unlikely]] {
        report_race(What::race, m, at, size, is_write, pc, c.writer, c.write_pc, true);
      }
    } else if (m.space == 1 && of_earlier_group(c.write_epoch) && !(c.writer & who & kAtomic)) [[unlikely]] {
      report_race(What::race_groups, m, at, size, is_write, pc, c.writer, c.write_pc, true);
    }
  }

  void check_readers(const Cell& c) const {
    if (c.read_epoch == epoch) {
      if (!ordered(c.reader, c.read_sub)) [[unlikely]] {
        report_race(What::race, m, at, size, true, pc, c.reader, c.read_pc, false);
      }
    }
    if (m.space == 1) {
      bool by_last = of_earlier_group(c.read_epoch) && !(c.reader & who & kAtomic);
      if (by_last || of_earlier_group(c.other_read)) [[unlikely]] {
        report_race(What::race_groups, m, at, size, true, pc, c.reader, c.read_pc, false);
      }
    }
  }

  void read(Cell& c) const {
    if (m.space == 0) {
      if (c.write_epoch < g.group_start) [[unlikely]] {
        report(What::not_written, m, at, size, false, pc);
      }
    } else if (m.kind != Kind::input) {
      if (c.write_epoch < g.plan_start) [[unlikely]] {
        report(What::not_written, m, at, size, false, pc);
      } else if (!(m.mode & kReadable) && c.write_epoch < g.launch_start) [[unlikely]] {
        report(What::write_only, m, at, size, false, pc);
      }
    }
    check_writer(c, false);
    if (c.read_epoch < g.group_start && c.write_epoch < g.group_start) {
      m.counters.distinct_read += 1u << m.shift;
    }
    remember_reader(c);
  }

  void remember_reader(Cell& c) const {
    if (c.read_epoch != epoch) {
      if (of_earlier_group(c.read_epoch) && !(c.reader & kAtomic)) {
        c.other_read = c.read_epoch;
      }
      c.reader = who;
    } else if (c.reader != who) {
      Who a = c.reader & 0x7fff, b = who & 0x7fff;
      if ((who & kAtomic) && !(c.reader & kAtomic)) {
        return;
      }
      Who atomic = c.reader & who & kAtomic;
      if (a == b) {
        c.reader = static_cast<Who>(a | atomic);
      } else if (a == kManyThreads || simdgroup_of(a) != simdgroup_of(b)) {
        c.reader = static_cast<Who>(kManyThreads | atomic);
      } else if (c.read_sub == sub) {
        c.reader = static_cast<Who>(simdgroup_of(b) << 6 | kSeveral | atomic);
      } else {
        c.reader = who;
      }
    }
    c.read_epoch = epoch;
    c.read_sub = sub;
    c.read_pc = pc32();
  }

  void write(Cell& c) const {
    check_writer(c, true);
    check_readers(c);
    if (c.write_epoch < g.group_start) {
      m.counters.distinct_write += 1u << m.shift;
    }
    c.write_epoch = epoch;
    c.write_sub = sub;
    c.write_pc = pc32();
    c.writer = who;
  }
};

}  // namespace

void access(uint64_t address, uint64_t size, bool is_write, Who who, uint64_t pc) {
  uint64_t in_arena = address - reinterpret_cast<uint64_t>(g.arena);
  if (in_arena >= kArenaBytes) [[unlikely]] {
    return foreign(address, size, is_write, pc);
  }
  Memory& m = g.memories[g.slots[in_arena >> kSlotShift]];
  uint64_t at = address - reinterpret_cast<uint64_t>(m.begin);
  if (at >= m.bytes || at + size > m.bytes || m.mode == 0) [[unlikely]] {
    out_of_bounds(address, size, is_write, pc);
  }
  if ((at | size) & ((1u << m.shift) - 1)) [[unlikely]] {
    refine(m, at, size);
  }
  uint64_t first = at >> m.shift, last = (at + size - 1) >> m.shift;
  if (is_write) {
    if (!(m.mode & kWritable)) [[unlikely]] {
      report(What::read_only, m, at, size, true, pc);
      abort_launch();
    }
    m.counters.issued_write += size;
  } else {
    m.counters.issued_read += size;
  }
  if (!m.cells) {
    for (uint64_t i = first; i <= last; i++) {
      if (m.touched[i] < g.group_start) {
        m.touched[i] = g.group_start;
        m.counters.distinct_read += 1u << m.shift;
      }
    }
    return;
  }
  Access a{m, at, size, pc, who, g.epochs[m.space], g.simd->sub[m.space]};
  for (uint64_t i = first; i <= last; i++) {
    is_write ? a.write(m.cells[i]) : a.read(m.cells[i]);
  }
}

}  // namespace sim
