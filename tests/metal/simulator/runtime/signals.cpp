// Ends a launch that crashes or does not end, and leaves the process as it was.
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>

#include <csignal>
#include <cstdio>
#include <cstring>

#if defined(__APPLE__)
#include <sys/ucontext.h>
#else
#include <ucontext.h>
#endif

#include "state.h"

namespace sim {

namespace {

constexpr int kFatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
constexpr int kTimer = SIGUSR2;
constexpr size_t kAlternate = 64 << 10;

struct Watch {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
  bool has_thread = false, is_running = false;
  pthread_t target{};
  double seconds = 0, used_before = 0;
};

Watch watch;
struct sigaction before[6];
stack_t stack_before;
uint8_t* alternate;

double cpu_seconds(pthread_t thread) {
  timespec t{};
#if defined(__APPLE__)
  (void)thread;
  clock_gettime(CLOCK_MONOTONIC, &t);
#else
  clockid_t clock;
  if (pthread_getcpuclockid(thread, &clock) == 0) {
    clock_gettime(clock, &t);
  }
#endif
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

void* keep_watch(void*) {
  pthread_mutex_lock(&watch.mutex);
  for (;;) {
    if (!watch.is_running) {
      pthread_cond_wait(&watch.changed, &watch.mutex);
      continue;
    }
    timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 200'000'000;
    until.tv_sec += until.tv_nsec / 1'000'000'000;
    until.tv_nsec %= 1'000'000'000;
    pthread_cond_timedwait(&watch.changed, &watch.mutex, &until);
    if (watch.is_running && cpu_seconds(watch.target) - watch.used_before > watch.seconds) {
      pthread_kill(watch.target, kTimer);
    }
  }
  return nullptr;
}

struct Registers {
  uint64_t pc, sp;
};

Registers registers(void* context) {
  auto* c = static_cast<ucontext_t*>(context);
#if defined(__APPLE__) && defined(__aarch64__)
  return {c->uc_mcontext->__ss.__pc, c->uc_mcontext->__ss.__sp};
#elif defined(__APPLE__)
  return {c->uc_mcontext->__ss.__rip, c->uc_mcontext->__ss.__rsp};
#elif defined(__x86_64__)
  return {static_cast<uint64_t>(c->uc_mcontext.gregs[REG_RIP]), static_cast<uint64_t>(c->uc_mcontext.gregs[REG_RSP])};
#else
  return {c->uc_mcontext.pc, c->uc_mcontext.sp};
#endif
}

// The interrupted fiber goes on in abort_launch, on the alternate stack: its own may be full.
void go_to_abort(void* context) {
  auto* c = static_cast<ucontext_t*>(context);
  auto pc = reinterpret_cast<uint64_t>(&abort_launch);
  // The handler itself runs in the upper half.
  uint64_t sp = (reinterpret_cast<uint64_t>(alternate) + kAlternate / 4) & ~15ull;
#if defined(__APPLE__) && defined(__aarch64__)
  c->uc_mcontext->__ss.__pc = pc;
  c->uc_mcontext->__ss.__sp = sp;
#elif defined(__APPLE__)
  c->uc_mcontext->__ss.__rip = pc;
  c->uc_mcontext->__ss.__rsp = sp - 8;
#elif defined(__x86_64__)
  c->uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(pc);
  c->uc_mcontext.gregs[REG_RSP] = static_cast<greg_t>(sp - 8);
#else
  c->uc_mcontext.pc = pc;
  c->uc_mcontext.sp = sp;
#endif
}

void handle(int signal, siginfo_t* info, void* context) {
  Registers r = registers(context);
  bool in_fiber = pthread_equal(pthread_self(), watch.target) && g.fiber &&
                  r.sp + 4096 >= reinterpret_cast<uint64_t>(g.stacks_begin) &&
                  r.sp < reinterpret_cast<uint64_t>(g.stacks_end);
  if (signal == kTimer) {
    if (in_fiber) {
      if (Finding* f = find(What::limit, r.pc)) {
        std::snprintf(f->text, sizeof(f->text), "%g", watch.seconds);
      }
      go_to_abort(context);
    }
    return;
  }
  if (!in_fiber) {
    // Not the kernel's: whoever was here before shall have it.
    for (int i = 0; i < 5; i++) {
      sigaction(kFatal[i], &before[i], nullptr);
    }
    return;
  }
  auto address = reinterpret_cast<uint64_t>(info->si_addr);
  bool is_overflow = signal == SIGSEGV && address >= reinterpret_cast<uint64_t>(g.stacks_begin) &&
                     address < reinterpret_cast<uint64_t>(g.stacks_end);
  if (Finding* f = find(What::crash, r.pc)) {
    std::snprintf(f->text, sizeof(f->text), "%s",
                  is_overflow         ? "the thread's variables do not fit into its stack of 256 KB"
                  : signal == SIGSEGV ? "segmentation fault"
                  : signal == SIGFPE  ? "arithmetic exception"
                  : signal == SIGBUS  ? "bus error"
                                      : "an index is outside of an array, or the end of a function is passed");
  }
  go_to_abort(context);
}

}  // namespace

void begin_watch(double seconds) {
  if (!alternate) {
    alternate =
        static_cast<uint8_t*>(mmap(nullptr, kAlternate, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  }
  stack_t stack{};
  stack.ss_sp = alternate + kAlternate / 2;
  stack.ss_size = kAlternate / 2;
  sigaltstack(&stack, &stack_before);
  struct sigaction action{};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (int i = 0; i < 5; i++) {
    sigaction(kFatal[i], &action, &before[i]);
  }
  sigaction(kTimer, &action, &before[5]);
  pthread_mutex_lock(&watch.mutex);
  watch.target = pthread_self();
  watch.seconds = seconds;
  watch.used_before = cpu_seconds(watch.target);
  if (!watch.has_thread) {
    pthread_t thread;
    watch.has_thread = pthread_create(&thread, nullptr, keep_watch, nullptr) == 0;
    pthread_detach(thread);
  }
  watch.is_running = true;
  pthread_cond_signal(&watch.changed);
  pthread_mutex_unlock(&watch.mutex);
}

void end_watch() {
  pthread_mutex_lock(&watch.mutex);
  watch.is_running = false;
  pthread_mutex_unlock(&watch.mutex);
  for (int i = 0; i < 5; i++) {
    sigaction(kFatal[i], &before[i], nullptr);
  }
  sigaction(kTimer, &before[5], nullptr);
  sigaltstack(&stack_before, nullptr);
}

}  // namespace sim
