// The only place that knows about threads: Grand Central Dispatch on macOS, a pool of our own elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>

namespace metalfaiss::cpu {

// A reference to a callable, without allocation and without a vtable shared between SIMD levels.
template <typename Signature>
class FunctionRef;

template <typename... Args>
class FunctionRef<void(Args...)> {
 public:
  template <typename F>
  FunctionRef(const F& f)  // NOLINT: implicit on purpose, so that a lambda is an argument
      : object_(&f), call_([](const void* object, Args... args) { (*static_cast<const F*>(object))(args...); }) {}
  void operator()(Args... args) const { call_(object_, args...); }

 private:
  const void* object_;
  void (*call_)(const void*, Args...);
};

// How many threads parallel_for uses, the caller's included. The default is what the process may run on.
int num_threads();
void set_num_threads(int n);  // n >= 1

// Calls f(i) for i in [0, n), once each, on up to num_threads() threads, and returns when all have. Tasks are handed
// out in order, one at a time: a task should be worth at least ten microseconds. A nested call runs serially.
// Where f throws, tasks that have not begun are left out, and the first exception is thrown again. Safe to call from
// several threads at once.
void parallel_for(int64_t n, FunctionRef<void(int64_t)> f);

// While one lives, parallel_for on this thread uses one in `sharers` of the threads: for callers of whom there are
// several at once.
class ThreadShare {
 public:
  explicit ThreadShare(int sharers);
  ~ThreadShare();
  ThreadShare(const ThreadShare&) = delete;
  ThreadShare& operator=(const ThreadShare&) = delete;

 private:
  int before_;
};

// Scratch memory of the calling thread, 64-byte aligned, uninitialised, kept between calls so that hot kernels do not
// pay for page faults. A later request for the same slot may move it: one slot, one user on the stack.
enum class Scratch { packed_a, packed_b, tile, partial, product, candidates, count };
void* thread_scratch(Scratch slot, size_t bytes);

}  // namespace metalfaiss::cpu
