// Where threads wait for each other: barriers, simdgroup operations, and what is wrong when not all come.
#include <cstdio>
#include <cstring>

#include "state.h"

namespace sim {

namespace {

void describe_where(const Fiber& f, char* out, size_t n) {
  if (f.wait == Wait::done) {
    std::snprintf(out, n, "has returned");
  } else {
    std::snprintf(out, n, "waits at %s", f.operation);
  }
}

}  // namespace

// Nobody can go on: say who waits for whom.
void deadlock() {
  const Fiber* waiting = nullptr;
  for (int i = 0; i < g.threads && !waiting; i++) {
    waiting = g.fibers[i].wait == Wait::simd ? &g.fibers[i] : nullptr;
  }
  bool is_simd = waiting != nullptr;
  for (int i = 0; i < g.threads && !waiting; i++) {
    waiting = g.fibers[i].wait == Wait::barrier ? &g.fibers[i] : nullptr;
  }
  int first = is_simd ? waiting->thread / kLanes * kLanes : 0;
  int end = is_simd ? first + __builtin_popcount(g.simds[first / kLanes].members) : g.threads;
  int with = 0;
  const Fiber* without = nullptr;
  for (int i = first; i < end; i++) {
    const Fiber& f = g.fibers[i];
    if (f.wait == waiting->wait && f.site == waiting->site) {
      with++;
    } else if (!without) {
      without = &f;
    }
  }
  if (Finding* f = find(is_simd ? What::simd : What::barrier, waiting->pc)) {
    char where[96];
    describe_where(*without, where, sizeof(where));
    f->thread = waiting->thread;
    f->other_thread = without->thread;
    f->other_pc = without->wait == Wait::done ? 0 : without->pc;
    std::snprintf(f->text, sizeof(f->text), "%s is reached by %d of the %d threads of its %s; thread %d %s",
                  waiting->operation, with, end - first, is_simd ? "simdgroup" : "threadgroup", without->thread, where);
  }
  abort_launch();
}

namespace {

[[noreturn]] void diverged(What what, const char* operation, uint64_t pc, const Fiber& other) {
  if (Finding* f = find(what, pc)) {
    char where[96];
    describe_where(other, where, sizeof(where));
    f->other_thread = other.thread;
    f->other_pc = other.wait == Wait::done ? 0 : other.pc;
    std::snprintf(f->text, sizeof(f->text), "%s is reached by thread %d while thread %d of its %s %s%s", operation,
                  g.fiber->thread, other.thread, what == What::simd ? "simdgroup" : "threadgroup", where,
                  other.wait == Wait::done ? "" : " elsewhere");
  }
  abort_launch();
}

}  // namespace

// Matrix loads and stores do not wait for anybody: each lane keeps a trail of those it did, compared when lanes meet.
void compare_trails(int simd) {
  const Fiber& first = g.fibers[simd * kLanes];
  for (int i = 1; i < __builtin_popcount(g.simds[simd].members); i++) {
    const Fiber& f = g.fibers[simd * kLanes + i];
    if (f.trail != first.trail) {
      const Fiber& did = f.trail_pc ? f : first;
      if (Finding* found = find(What::simd, did.trail_pc)) {
        found->thread = did.thread;
        found->other_thread = (did.trail_pc == f.trail_pc ? first : f).thread;
        std::snprintf(found->text, sizeof(found->text),
                      "simdgroup_load or simdgroup_store is not executed alike by all lanes: lanes %d and %d differ",
                      first.thread % kLanes, f.thread % kLanes);
      }
      abort_launch();
    }
  }
}

namespace {

[[gnu::cold]] void partial_simdgroup(const char* operation, uint64_t pc) {
  if (Finding* found = find(What::simd, pc)) {
    std::snprintf(found->text, sizeof(found->text),
                  "%s is in a simdgroup of %d lanes: the threads of a threadgroup must be a multiple of 32", operation,
                  __builtin_popcount(g.simd->members));
  }
  abort_launch();
}

// Waits for all lanes of the simdgroup; the values that each brought, 16 bytes a lane.
void* meet(const char* operation, uint64_t pc, const void* value, uint64_t bytes, int flags) {
  Fiber& f = *g.fiber;
  Simd& simd = *g.simd;
  int lane = f.thread % kLanes, parity = simd.parity;
  f.operation = operation;
  f.pc = pc;
  f.site = pc ^ f.calls;
  if ((simd.arrived && simd.site != f.site) || simd.exited) [[unlikely]] {
    uint32_t others = simd.arrived && simd.site != f.site ? simd.arrived : simd.exited;
    diverged(What::simd, operation, pc, g.fibers[f.thread - lane + __builtin_ctz(others)]);
  }
  if (simd.members != ~0u) [[unlikely]] {
    partial_simdgroup(operation, pc);
  }
  simd.site = f.site;
  std::memcpy(simd.slots[parity][lane], value, bytes);
  simd.arrived |= 1u << lane;
  if (simd.arrived != simd.members) {
    f.wait = Wait::simd;
    yield();
    return simd.slots[parity];
  }
  compare_trails(f.thread / kLanes);
  simd.slots[parity][kLanes + 1][0] = 0;
  simd.arrived = 0;
  simd.parity ^= 1;
  simd.sub[0] += flags & 1;
  simd.sub[1] += flags >> 1 & 1;
  for (uint32_t others = simd.members & ~(1u << lane); others; others &= others - 1) {
    int thread = f.thread - lane + __builtin_ctz(others);
    g.fibers[thread].wait = Wait::ready;
    set_ready(thread);
  }
  return simd.slots[parity];
}

}  // namespace

}  // namespace sim

using namespace sim;

SIM_API void sim_barrier(int flags) {
  uint64_t pc = SIM_PC;
  Fiber& f = *g.fiber;
  uint64_t site = (pc ^ f.calls) * 64 + static_cast<uint64_t>(flags);
  f.operation = "threadgroup_barrier";
  f.pc = pc;
  f.site = site;
  if (g.at_barrier > 0 && g.barrier_site != site) {
    for (int i = 0; i < g.threads; i++) {
      if (g.fibers[i].wait == Wait::barrier) {
        diverged(What::barrier, f.operation, pc, g.fibers[i]);
      }
    }
  }
  g.barrier_site = site;
  if (++g.at_barrier < g.threads) {
    f.wait = Wait::barrier;
    yield();
    return;
  }
  g.at_barrier = 0;
  uint32_t epoch = ++g.epoch;
  g.epochs[0] = flags & 1 ? epoch : g.epochs[0];
  g.epochs[1] = flags & 2 ? epoch : g.epochs[1];
  for (int i = 0; i < g.threads; i++) {
    if (i != f.thread) {
      g.fibers[i].wait = Wait::ready;
      set_ready(i);
    }
  }
}

SIM_API void* sim_meet(const char* operation, uint64_t pc, const void* value, uint64_t bytes) {
  return meet(operation, pc, value, bytes, 0);
}

SIM_API void sim_simdgroup_barrier(int flags) {
  meet("simdgroup_barrier", SIM_PC, &flags, sizeof(flags), flags);
}

SIM_API void sim_trail(uint64_t pc) {
  Fiber& f = *g.fiber;
  if (g.simd->members != ~0u) [[unlikely]] {
    partial_simdgroup("a matrix operation", pc);
  }
  f.trail = (f.trail ^ pc ^ f.calls) * 0x9e3779b97f4a7c15ull;
  f.trail_pc = pc;
}

SIM_API uint32_t sim_lane() {
  return static_cast<uint32_t>(g.fiber->thread % kLanes);
}

SIM_API uint32_t sim_members() {
  return g.simd->members;
}
