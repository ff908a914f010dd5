// What the simulator knows while it runs one threadgroup: fibers, memories with their shadow, and what it found.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sim {

constexpr int kMaxThreads = 1024;
constexpr int kLanes = 32;
constexpr int kSpaces = 2;  // 0: threadgroup memory, 1: device memory
constexpr int kMaxMemories = 512;
constexpr int kMaxFindings = 64;

constexpr uint64_t kArenaBytes = 1ull << 36;
constexpr int kSlotShift = 20;  // memories begin in slots of their own, so that an address tells which one it is
constexpr uint64_t kSlots = kArenaBytes >> kSlotShift;

// Who touched a cell: simdgroup and lane; lane 32 stands for "some lane" (which lane holds which element of a matrix is
// not specified), 33 for several lanes, kManyThreads for threads of several simdgroups.
using Who = uint16_t;
constexpr int kCollective = 32, kSeveral = 33;
constexpr Who kManyThreads = 0x7fff, kAtomic = 0x8000;

inline int simdgroup_of(Who who) {
  return (who & 0x7fff) >> 6;
}

// The shadow of a granule of memory. Epochs are numbers that only grow: each launch, threadgroup and barrier begins a
// new one, so that cells never need clearing. `sub` counts the barriers of the toucher's simdgroup.
struct Cell {
  uint32_t write_epoch, write_sub, write_pc;
  uint32_t read_epoch, read_sub, read_pc;
  uint32_t other_read;  // the last epoch of a read by an earlier threadgroup
  Who writer, reader;
};
static_assert(sizeof(Cell) == 32);

enum class Kind : int32_t { none, input, output, scratch, parameters, threadgroup };

constexpr int kReadable = 1, kWritable = 2;

struct Counters {
  uint64_t issued_read, issued_write, distinct_read, distinct_write;
};

struct Memory {
  uint8_t* begin;
  uint64_t bytes;
  Cell* cells;  // nullptr where nobody may write: then `touched` says who read
  uint32_t* touched;
  Kind kind;
  int space;
  int mode;   // what the running launch may do
  int shift;  // granules of 1 << shift bytes
  Counters counters;
};

enum class What : int32_t {
  none,
  out_of_bounds,
  wild,
  misaligned,
  read_only,
  not_written,
  write_only,
  race,
  race_groups,
  barrier,
  simd,
  shuffle,
  undefined,
  limit,
  crash,
};

struct Finding {
  What what;
  int32_t memory;
  int64_t offset;
  int32_t size;
  int32_t is_write;
  uint64_t pc, other_pc;
  uint32_t group[3];
  int32_t thread, other_thread;  // other_thread: -1 none, -2 its own simdgroup's matrix operation, -3 several
  int32_t other_is_write;
  char text[232];
};

// What a kernel's entry gets: attributes of a thread.
struct Thread {
  uint32_t group[3], thread[3], groups[3], threads[3];
  uint32_t index, lane, simd, simds;
};

using Entry = void (*)(const Thread*, void* const*);

struct Launch {
  Entry entry;
  void* const* buffers;
  uint32_t groups[3], threads[3];
  int64_t schedule;  // 0 forward, 1 reverse, 2 random
  uint64_t seed;
  uint64_t image_begin, image_end;
  double seconds;
};

enum class Wait : uint8_t { fresh, running, ready, barrier, simd, done };

struct Fiber {
  void* sp;
  uint8_t* stack;
  Wait wait;
  int thread;
  uint64_t site, pc, calls, trail, trail_pc;
  const char* operation;
  int depth;
  uint64_t callers[32];
};

struct Simd {
  uint32_t members, arrived, exited;
  int parity;
  uint64_t site;
  uint32_t sub[kSpaces];
  alignas(16) uint8_t slots[2][kLanes + 2][16];  // then a result that the lanes share, and whether it is there
};

struct State {
  uint8_t* arena;
  uint16_t* slots;
  uint64_t next_slot, first_dynamic_slot;
  Cell* cells;
  uint64_t next_cell;
  uint32_t* touched;
  uint64_t next_touched;
  Memory memories[kMaxMemories];
  int memory_count;
  uint64_t image_begin, image_end;
  uint8_t *stacks_begin, *stacks_end;

  uint32_t epoch, plan_start, launch_start, group_start;
  uint32_t epochs[kSpaces];

  Fiber* fiber;
  Simd* simd;
  Who who;
  Fiber fibers[kMaxThreads];
  Simd simds[kMaxThreads / kLanes];
  Thread thread;
  const Launch* launch;
  int threads, live, at_barrier;
  uint64_t barrier_site;
  int barrier_flags;

  Finding findings[kMaxFindings];
  int finding_count;
  bool aborted;
};

extern State g;

inline uint64_t caller(void* return_address) {
  return reinterpret_cast<uint64_t>(return_address) - 1;
}

// fibers.cpp
[[noreturn]] void abort_launch();

void set_ready(int thread);
void yield();  // leaves the running fiber for the next one
void pause();  // lets others go first now and then, where the schedule is random

// meeting.cpp
[[noreturn]] void deadlock();  // nobody can go on: says who waits for whom
void compare_trails(int simd);

// signals.cpp
void begin_watch(double seconds);
void end_watch();

// findings.cpp
Finding* find(What what, uint64_t pc);  // nullptr where the same was found before
int thread_of(Who who);

// memory.cpp
int add_memory(Kind kind, uint64_t bytes, uint64_t alignment_of);
Cell* take_cells(uint64_t n);
void begin_group_memory();

// shadow.cpp
void refine(Memory& m, uint64_t at, uint64_t size);
void access(uint64_t address, uint64_t size, bool is_write, Who who, uint64_t pc);

}  // namespace sim

#define SIM_API extern "C" __attribute__((visibility("default")))
#define SIM_PC sim::caller(__builtin_return_address(0))
