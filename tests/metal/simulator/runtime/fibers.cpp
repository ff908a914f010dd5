// One fiber a thread, one threadgroup at a time: who runs next.
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

}  // namespace

void set_ready(int thread) {
  int p = s.position[thread];
  s.ready[p / 64] |= 1ull << (p % 64);
}

namespace {

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

}  // namespace

void yield() {
  int next = pick();
  if (next < 0) {
    deadlock();
  }
  if (next == g.fiber->thread) {
    g.fiber->wait = Wait::running;
    return;
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

void pause() {
  if (g.launch->schedule == 2 && (next_random() & 1)) {
    g.fiber->wait = Wait::ready;
    set_ready(g.fiber->thread);
    yield();
  }
}

namespace {

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
