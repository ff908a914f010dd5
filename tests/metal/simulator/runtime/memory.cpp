// Memories and the room for their shadow.
#include <dlfcn.h>
#include <sys/mman.h>
#if defined(__linux__)
#include <link.h>
#endif

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "state.h"

namespace sim {

State g;

namespace {

constexpr uint64_t kGap = 64 << 10;
constexpr uint64_t kMaxCells = 1ull << 31, kMaxTouched = 1ull << 34;

void* reserve(uint64_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    std::perror("simulator: mmap");
    std::abort();
  }
  return p;
}

}  // namespace

Cell* take_cells(uint64_t n) {
  Cell* cells = g.cells + g.next_cell;
  g.next_cell += n;
  if (g.next_cell > kMaxCells) {
    std::fprintf(stderr, "simulator: a plan writes to too much memory\n");
    std::abort();
  }
  return cells;
}

// A memory in slots of its own, with at least 1 MB of nothing behind it.
int add_memory(Kind kind, uint64_t bytes, uint64_t alignment_of) {
  if (g.memory_count == kMaxMemories) {
    return -1;
  }
  uint64_t colour = (g.memory_count * 1040ull) % 8192 / 128 * 128;  // equal offsets would share the cache's sets
  uint64_t span = kGap + colour + 128 + bytes + kGap;
  uint64_t slots = (span >> kSlotShift) + 2;
  if (g.next_slot + slots > kSlots) {
    return -1;
  }
  int index = g.memory_count++;
  uint8_t* begin = g.arena + (g.next_slot << kSlotShift) + kGap + colour + alignment_of % 128;
  std::fill_n(g.slots + g.next_slot, slots, static_cast<uint16_t>(index));
  g.next_slot += slots;
  bool is_read_only = kind == Kind::input || kind == Kind::parameters;
  uint64_t granules = (bytes + 3) / 4;
  Memory& m = g.memories[index];
  m = Memory{begin, bytes, nullptr, nullptr, kind, kind != Kind::threadgroup, 0, 2, {}};
  if (is_read_only) {
    m.touched = g.touched + g.next_touched;
    g.next_touched += granules;
  } else {
    m.cells = take_cells(granules);
  }
  return index;
}

void begin_group_memory() {
  g.group_start = ++g.epoch;
  g.epochs[0] = g.epochs[1] = g.group_start;
  for (int i = 1; i < g.memory_count; i++) {
    Memory& m = g.memories[i];
    if (m.kind == Kind::threadgroup && m.mode) {
      std::memset(m.begin, 0xff, m.bytes);
    }
  }
}

}  // namespace sim

using namespace sim;

SIM_API void sim_begin_plan() {
  if (!g.arena) {
    g.arena = static_cast<uint8_t*>(reserve(kArenaBytes));
    g.slots = static_cast<uint16_t*>(reserve(kSlots * sizeof(uint16_t)));
    g.cells = static_cast<Cell*>(reserve(kMaxCells * sizeof(Cell)));
    g.touched = static_cast<uint32_t*>(reserve(kMaxTouched * sizeof(uint32_t)));
  }
  constexpr uint64_t kKeep = 128 << 20;
  if (g.epoch > 1u << 31 || g.next_cell * sizeof(Cell) + g.next_touched * 4 + (g.next_slot << kSlotShift) > 8 * kKeep) {
    madvise(g.arena, g.next_slot << kSlotShift, MADV_DONTNEED);
    madvise(g.cells, g.next_cell * sizeof(Cell), MADV_DONTNEED);
    madvise(g.touched, g.next_touched * 4, MADV_DONTNEED);
    g.epoch = g.epoch > 1u << 31 ? 0 : g.epoch;
  }
  std::fill_n(g.slots, g.next_slot, static_cast<uint16_t>(0));
  g.next_slot = 1;
  g.next_cell = g.next_touched = 0;
  g.memory_count = 1;
  g.finding_count = 0;
  g.plan_start = ++g.epoch;
}

// Adds a memory that lasts until the end of the plan; its address, or 0 where there is no room. Inputs are copied,
// anything else begins as NaN.
SIM_API int sim_add_memory(int kind, const void* from, uint64_t bytes, uint64_t alignment_of) {
  int index = add_memory(static_cast<Kind>(kind), bytes, alignment_of);
  if (index > 0) {
    Memory& m = g.memories[index];
    if (from) {
      std::memcpy(m.begin, from, bytes);
    } else {
      std::memset(m.begin, 0xff, bytes);
    }
  }
  return index;
}

SIM_API void* sim_address(int index) {
  return g.memories[index].begin;
}

SIM_API uint64_t sim_bytes(int index) {
  return g.memories[index].bytes;
}

SIM_API void sim_set_mode(int index, int mode) {
  g.memories[index].mode = mode;
}

SIM_API void sim_counters(int index, Counters* out) {
  *out = g.memories[index].counters;
  g.memories[index].counters = {};
}

// Marks bytes as written by something other than a kernel.
SIM_API void sim_mark_written(int index, uint64_t at, uint64_t bytes) {
  Memory& m = g.memories[index];
  if (bytes == 0 || !m.cells) {
    return;
  }
  if ((at | bytes) & ((1u << m.shift) - 1)) {
    refine(m, at, bytes);
  }
  for (uint64_t i = at >> m.shift; i <= (at + bytes - 1) >> m.shift; i++) {
    m.cells[i].write_epoch = g.epoch;
  }
}

// The first byte in [at, at + bytes) that nobody wrote in this plan, or -1; `count` gets how many there are.
SIM_API int64_t sim_unwritten(int index, uint64_t at, uint64_t bytes, uint64_t* count) {
  Memory& m = g.memories[index];
  int64_t found = -1;
  *count = 0;
  for (uint64_t byte = at; m.cells && byte < at + bytes;) {
    uint64_t i = byte >> m.shift, next = std::min((i + 1) << m.shift, at + bytes);
    if (m.cells[i].write_epoch < g.plan_start) {
      found = found < 0 ? static_cast<int64_t>(byte) : found;
      *count += next - byte;
    }
    byte = next;
  }
  return found;
}

namespace {

constexpr int kMaxArrays = 64;
int arrays[kMaxArrays];
const char* names[kMaxMemories];
int memories_before;
uint64_t slots_before, static_bytes;

}  // namespace

// Memories that are added from here on live until sim_end_launch.
SIM_API void sim_begin_launch() {
  memories_before = g.memory_count;
  slots_before = g.next_slot;
  static_bytes = 0;
  std::fill_n(arrays, kMaxArrays, 0);
}

SIM_API void sim_end_launch() {
  std::fill(g.slots + slots_before, g.slots + g.next_slot, static_cast<uint16_t>(0));
  g.memory_count = memories_before;
  g.next_slot = slots_before;
}

// Where the library that holds a function begins and ends.
SIM_API void sim_image(const void* function, uint64_t* out) {
  Dl_info info{};
  dladdr(function, &info);
  out[0] = reinterpret_cast<uint64_t>(info.dli_fbase);
  out[1] = out[0] + (1 << 24);
#if defined(__linux__)
  dl_iterate_phdr(
      [](dl_phdr_info* object, size_t, void* data) {
        auto* range = static_cast<uint64_t*>(data);
        if (object->dlpi_addr == range[0]) {
          for (int i = 0; i < object->dlpi_phnum; i++) {
            const auto& segment = object->dlpi_phdr[i];
            if (segment.p_type == PT_LOAD) {
              range[1] = range[0] + segment.p_vaddr + segment.p_memsz;
            }
          }
        }
        return 0;
      },
      out);
#endif
}

// The threadgroup array `index` of the kernel's body: one a threadgroup, in slots of its own.
SIM_API void* sim_threadgroup(int index, const char* name, uint64_t bytes, uint64_t) {
  if (!arrays[index]) {
    int memory = add_memory(Kind::threadgroup, bytes, 0);
    if (memory < 0) {
      if (Finding* f = find(What::crash, SIM_PC)) {
        std::snprintf(f->text, sizeof(f->text), "the simulator has no room for the threadgroup array %s", name);
      }
      abort_launch();
    }
    Memory& m = g.memories[memory];
    m.mode = kReadable | kWritable;
    std::memset(m.begin, 0xff, bytes);
    names[memory] = name;
    arrays[index] = memory;
    static_bytes += bytes;
  }
  return g.memories[arrays[index]].begin;
}

SIM_API const char* sim_array_name(int memory) {
  return names[memory];
}

SIM_API uint64_t sim_static_bytes() {
  return static_bytes;
}
