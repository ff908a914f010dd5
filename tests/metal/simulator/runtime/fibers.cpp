// One fiber a thread, one threadgroup at a time: who runs next, and where they wait for each other.
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "state.h"

// Saves what a call must keep on the stack, leaves its place in *save and goes on from `to`.
extern "C" void sim_switch(void** save, void* to);
#if defined(__APPLE__)
#define SIM_SYMBOL "_sim_switch"
#else
#define SIM_SYMBOL "sim_switch"
#endif
#if defined(__x86_64__)
asm(".text\n.globl " SIM_SYMBOL "\n" SIM_SYMBOL
    ":\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp, (%rdi)\nmovq %rsi, %rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n");
constexpr int kSaved = 6;
#elif defined(__aarch64__)
asm(".text\n.globl " SIM_SYMBOL "\n.p2align 2\n" SIM_SYMBOL
    ":\n"
    "sub sp, sp, #160\n"
    "stp x19, x20, [sp]\nstp x21, x22, [sp, #16]\nstp x23, x24, [sp, #32]\nstp x25, x26, [sp, #48]\n"
    "stp x27, x28, [sp, #64]\nstp x29, x30, [sp, #80]\nstp d8, d9, [sp, #96]\nstp d10, d11, [sp, #112]\n"
    "stp d12, d13, [sp, #128]\nstp d14, d15, [sp, #144]\n"
    "mov x9, sp\nstr x9, [x0]\nmov sp, x1\n"
    "ldp x19, x20, [sp]\nldp x21, x22, [sp, #16]\nldp x23, x24, [sp, #32]\nldp x25, x26, [sp, #48]\n"
    "ldp x27, x28, [sp, #64]\nldp x29, x30, [sp, #80]\nldp d8, d9, [sp, #96]\nldp d10, d11, [sp, #112]\n"
    "ldp d12, d13, [sp, #128]\nldp d14, d15, [sp, #144]\n"
    "add sp, sp, #160\nret\n");
#else
#error "The simulator knows x86-64 and aarch64."
#endif

namespace sim {

namespace {

constexpr uint64_t kStack = 256 << 10, kGuard = 16 << 10;
constexpr int kWords = kMaxThreads / 64;

struct Scheduler {
  void* sp;
  uint8_t* free_stacks[kMaxThreads];
  int free_count;
  uint64_t ready[kWords];  // by position in `order`
  int order[kMaxThreads], position[kMaxThreads];
  int words, current;
  uint64_t random;
};

Scheduler s;

uint64_t next_random() {
  s.random ^= s.random << 13;
  s.random ^= s.random >> 7;
  s.random ^= s.random << 17;
  return s.random;
}

void set_ready(int thread) {
  int p = s.position[thread];
  s.ready[p / 64] |= 1ull << (p % 64);
}

// The next ready fiber behind the current one, all around; -1 where there is none.
int pick() {
  int from = g.launch->schedule == 2 ? static_cast<int>(next_random() % static_cast<uint64_t>(g.threads)) : s.current;
  uint64_t head = s.ready[from / 64] & (~0ull << (from % 64));
  for (int i = 0, w = from / 64; i <= s.words; i++) {
    uint64_t bits = i == 0 ? head : s.ready[w];
    if (bits) {
      int p = w * 64 + __builtin_ctzll(bits);
      s.ready[w] &= ~(1ull << (p % 64));
      s.current = p;
      return s.order[p];
    }
    w = w + 1 == s.words ? 0 : w + 1;
  }
  return -1;
}

void become(int thread) {
  g.fiber = &g.fibers[thread];
  g.simd = &g.simds[thread / kLanes];
  g.who = static_cast<Who>(thread / kLanes << 6 | thread % kLanes);
}

void set_thread(int thread) {
  Thread& t = g.thread;
  t.index = static_cast<uint32_t>(thread);
  t.lane = t.index % kLanes;
  t.simd = t.index / kLanes;
  t.thread[0] = t.index % t.threads[0];
  t.thread[1] = t.index / t.threads[0] % t.threads[1];
  t.thread[2] = t.index / t.threads[0] / t.threads[1];
}

void describe_where(const Fiber& f, char* out, size_t n) {
  if (f.wait == Wait::done) {
    std::snprintf(out, n, "has returned");
  } else {
    std::snprintf(out, n, "waits at %s", f.operation);
  }
}

// Nobody can go on: say who waits for whom.
[[noreturn]] void deadlock() {
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

void diverged(What what, const char* operation, uint64_t pc, const Fiber& other) {
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

[[noreturn]] void fiber_main();

uint8_t* take_stack() {
  return s.free_stacks[--s.free_count];
}

void* prepared(uint8_t* stack) {
  auto** top = reinterpret_cast<void**>(stack);
#if defined(__x86_64__)
  top[-1] = nullptr;
  top[-2] = reinterpret_cast<void*>(&fiber_main);
  std::memset(top - 2 - kSaved, 0, kSaved * sizeof(void*));
  return top - 2 - kSaved;
#else
  void** frame = top - 20;
  std::memset(frame, 0, 160);
  frame[11] = reinterpret_cast<void*>(&fiber_main);
  return frame;
#endif
}

// Leaves the running fiber for the next one.
void yield() {
  int next = pick();
  if (next < 0) {
    deadlock();
  }
  Fiber& from = *g.fiber;
  Fiber& to = g.fibers[next];
  if (to.wait == Wait::fresh) {
    to.stack = take_stack();
    to.sp = prepared(to.stack);
  }
  become(next);
  to.wait = Wait::running;
  sim_switch(&from.sp, to.sp);
}

void leave_simd() {
  Fiber& f = *g.fiber;
  Simd& simd = *g.simd;
  f.wait = Wait::done;
  simd.exited |= 1u << f.thread % kLanes;
  g.live--;
  if (simd.exited == simd.members) {
    compare_trails(f.thread / kLanes);
  }
}

// Runs fresh threads on this stack, one after the other, until one that already has a stack can go on.
[[noreturn]] void fiber_main() {
  uint8_t* stack = g.fiber->stack;
  for (;;) {
    g.fiber->wait = Wait::running;
    set_thread(g.fiber->thread);
    Thread thread = g.thread;
    g.launch->entry(&thread, g.launch->buffers);
    leave_simd();
    int next = g.live == 0 ? -1 : pick();
    if (next < 0 && g.live > 0) {
      deadlock();
    }
    if (next >= 0 && g.fibers[next].wait == Wait::fresh) {
      become(next);
      g.fiber->stack = stack;
      continue;
    }
    s.free_stacks[s.free_count++] = stack;
    void* ignored;
    if (next < 0) {
      sim_switch(&ignored, s.sp);
    } else {
      become(next);
      g.fiber->wait = Wait::running;
      sim_switch(&ignored, g.fiber->sp);
    }
    __builtin_unreachable();
  }
}

void make_stacks() {
  uint64_t bytes = kMaxThreads * (kStack + kGuard);
  auto* p = static_cast<uint8_t*>(
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (p == MAP_FAILED) {
    std::perror("simulator: mmap");
    std::abort();
  }
  g.stacks_begin = p;
  g.stacks_end = p + bytes;
  for (int i = 0; i < kMaxThreads; i++) {
    mprotect(p + i * (kStack + kGuard), kGuard, PROT_NONE);
  }
}

void free_all_stacks() {
  s.free_count = 0;
  for (int i = kMaxThreads - 1; i >= 0; i--) {
    // Equal offsets in all stacks would share the cache's sets.
    s.free_stacks[s.free_count++] = g.stacks_begin + (i + 1) * (kStack + kGuard) - i * 320 % 16384 / 64 * 64;
  }
}

void order_threads(uint64_t seed) {
  for (int i = 0; i < g.threads; i++) {
    s.order[i] = g.launch->schedule == 1 ? g.threads - 1 - i : i;
  }
  s.random = seed * 0x9e3779b97f4a7c15ull | 1;
  for (int i = g.threads - 1; i > 0 && g.launch->schedule == 2; i--) {
    int j = static_cast<int>(next_random() % static_cast<uint64_t>(i + 1));
    int t = s.order[i];
    s.order[i] = s.order[j];
    s.order[j] = t;
  }
  for (int i = 0; i < g.threads; i++) {
    s.position[s.order[i]] = i;
  }
}

void run_group(const uint32_t* group, uint64_t number) {
  std::memcpy(g.thread.group, group, sizeof(g.thread.group));
  begin_group_memory();
  if (number == 0 || g.launch->schedule == 2) {
    order_threads(g.launch->seed + number);
  }
  std::memset(s.ready, 0, sizeof(s.ready));
  for (int i = 0; i < g.threads; i++) {
    g.fibers[i].wait = Wait::fresh;
    g.fibers[i].thread = i;
    g.fibers[i].depth = 0;
    g.fibers[i].calls = g.fibers[i].trail = g.fibers[i].trail_pc = 0;
    s.ready[i / 64] |= 1ull << (i % 64);
  }
  for (int i = 0; i * kLanes < g.threads; i++) {
    Simd& simd = g.simds[i];
    int lanes = g.threads - i * kLanes < kLanes ? g.threads - i * kLanes : kLanes;
    simd.members = lanes == kLanes ? ~0u : (1u << lanes) - 1;
    simd.arrived = simd.exited = 0;
    simd.parity = 0;
    simd.sub[0] = simd.sub[1] = 0;
  }
  g.live = g.threads;
  g.at_barrier = 0;
  s.current = 0;
  int first = pick();
  become(first);
  g.fiber->stack = take_stack();
  sim_switch(&s.sp, prepared(g.fiber->stack));
  g.fiber = nullptr;
}

}  // namespace

void abort_launch() {
  g.aborted = true;
  void* ignored;
  sim_switch(&ignored, s.sp);
  __builtin_unreachable();
}

}  // namespace sim

using namespace sim;

// Runs every threadgroup; 1 where a finding ended the launch early.
SIM_API int sim_launch(const Launch* launch) {
  if (!g.stacks_begin) {
    make_stacks();
  }
  g.launch = launch;
  g.launch_start = ++g.epoch;
  g.image_begin = launch->image_begin;
  g.image_end = launch->image_end;
  g.threads = static_cast<int>(launch->threads[0] * launch->threads[1] * launch->threads[2]);
  s.words = (g.threads + 63) / 64;
  std::memcpy(g.thread.threads, launch->threads, sizeof(launch->threads));
  std::memcpy(g.thread.groups, launch->groups, sizeof(launch->groups));
  g.thread.simds = static_cast<uint32_t>((g.threads + kLanes - 1) / kLanes);
  g.aborted = false;
  free_all_stacks();
  uint64_t x = launch->groups[0], y = launch->groups[1], n = x * y * launch->groups[2];
  // A step that is coprime to n visits every threadgroup once.
  uint64_t step = 1;
  if (launch->schedule == 2) {
    for (step = launch->seed % n + n / 3 + 1; [&] {
           uint64_t a = step, b = n;
           while (b) {
             uint64_t t = a % b;
             a = b;
             b = t;
           }
           return a != 1;
         }();
         step++) {
    }
  }
  begin_watch(launch->seconds);
  for (uint64_t i = 0; i < n && !g.aborted; i++) {
    uint64_t at = launch->schedule == 1 ? n - 1 - i : i * (step % n) % n;
    uint32_t group[3] = {static_cast<uint32_t>(at % x), static_cast<uint32_t>(at / x % y),
                         static_cast<uint32_t>(at / x / y)};
    run_group(group, i);
  }
  end_watch();
  return g.aborted;
}

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

namespace {

// Waits for all lanes of the simdgroup; the values that each brought, 16 bytes a lane.
const void* meet(const char* operation, uint64_t pc, const void* value, uint64_t bytes, int flags) {
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
  simd.site = f.site;
  std::memcpy(simd.slots[parity][lane], value, bytes);
  simd.arrived |= 1u << lane;
  if (simd.arrived != simd.members) {
    f.wait = Wait::simd;
    yield();
    return simd.slots[parity];
  }
  compare_trails(f.thread / kLanes);
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

SIM_API const void* sim_meet(const char* operation, uint64_t pc, const void* value, uint64_t bytes) {
  return meet(operation, pc, value, bytes, 0);
}

SIM_API void sim_simdgroup_barrier(int flags) {
  meet("simdgroup_barrier", SIM_PC, &flags, sizeof(flags), flags);
}

SIM_API void sim_trail(uint64_t pc) {
  Fiber& f = *g.fiber;
  f.trail = (f.trail ^ pc ^ f.calls) * 0x9e3779b97f4a7c15ull;
  f.trail_pc = pc;
}

SIM_API uint32_t sim_lane() {
  return static_cast<uint32_t>(g.fiber->thread % kLanes);
}

SIM_API uint32_t sim_members() {
  return g.simd->members;
}
