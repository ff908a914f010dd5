#include "cpu/parallel.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <memory>
#include <system_error>
#include <thread>

#if defined(__APPLE__)
#include <dispatch/dispatch.h>
#else
#include <pthread.h>
#include <sched.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <vector>
#endif

namespace metalfaiss::cpu {

namespace {

int default_threads() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    return std::max(1, CPU_COUNT(&set));
  }
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

std::atomic<int> threads_wanted{0};  // 0: default_threads()
thread_local bool inside_parallel_for = false;
thread_local int thread_sharers = 1;

// One parallel_for: threads take the next index until none is left.
struct Job {
  int64_t n;
  FunctionRef<void(int64_t)> f;
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error{};  // of the thread that set `failed`

  void work() {
    inside_parallel_for = true;
    try {
      for (int64_t i = next.fetch_add(1); i < n; i = next.fetch_add(1)) {
        f(i);
      }
    } catch (...) {
      next = n;
      if (!failed.exchange(true)) {
        error = std::current_exception();
      }
    }
    inside_parallel_for = false;
  }
};

#if defined(__APPLE__)

void run(Job& job, int threads) {
  dispatch_apply_f(threads, dispatch_get_global_queue(QOS_CLASS_USER_INITIATED, 0), &job,
                   [](void* j, size_t) { static_cast<Job*>(j)->work(); });
}

#else

inline void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits for `ready()` by spinning: waking a sleeping thread costs 5 to 100 microseconds, as much as a small kernel.
// After about 20 microseconds it lets other threads run between two looks; after a millisecond it gives up.
template <typename F>
bool spin_until(F ready) {
  for (int i = 0; i < 2000; i++) {
    if (ready()) {
      return true;
    }
    cpu_relax();
  }
  auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1);
  while (!ready()) {
    if (std::chrono::steady_clock::now() > end) {
      return false;
    }
    sched_yield();
  }
  return true;
}

class Pool {
 public:
  // Hands `job` to `helpers` pool threads, works on it too, and returns when nobody works on it any more.
  void run(Job& job, int helpers) {
    Ticket ticket{&job, helpers};
    {
      std::lock_guard lock(mutex_);
      try {
        for (; workers_ < helpers; workers_++) {
          std::thread([this] { work(); }).detach();
        }
      } catch (const std::system_error&) {
        // The system gives no more threads: those that there are do the work.
      }
      tickets_.push_back(&ticket);
      open_.fetch_add(1);
    }
    wake_.notify_all();
    job.work();
    {
      std::lock_guard lock(mutex_);
      withdraw(&ticket);
    }
    if (!spin_until([&] { return ticket.working.load() == 0; })) {
      std::unique_lock lock(mutex_);
      done_.wait(lock, [&] { return ticket.working.load() == 0; });
    }
    // The last helper still holds the mutex when its count reaches zero: let it go before the ticket disappears.
    std::lock_guard lock(mutex_);
  }

 private:
  struct Ticket {
    Job* job;
    int vacancies;
    std::atomic<int> working{0};
  };

  void withdraw(Ticket* ticket) {
    auto at = std::find(tickets_.begin(), tickets_.end(), ticket);
    if (at != tickets_.end()) {
      tickets_.erase(at);
      open_.fetch_sub(1);
    }
  }

  void work() {
    for (;;) {
      spin_until([&] { return open_.load() > 0; });
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return !tickets_.empty(); });
      Ticket* ticket = tickets_.front();
      ticket->working.fetch_add(1);
      if (--ticket->vacancies == 0) {
        withdraw(ticket);
      }
      lock.unlock();
      ticket->job->work();
      lock.lock();
      if (ticket->working.fetch_sub(1) == 1) {
        done_.notify_all();
      }
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::deque<Ticket*> tickets_;
  std::atomic<int> open_{0};  // tickets_.size(), readable without the lock
  int workers_ = 0;
};

// Never destroyed: its threads are detached and may outlive static destructors.
std::atomic<Pool*> pool{nullptr};

Pool& the_pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    pool = new Pool;
    // A forked child has none of its parent's threads: it starts a pool of its own.
    pthread_atfork(nullptr, nullptr, [] { pool = new Pool; });
  });
  return *pool;
}

void run(Job& job, int threads) {
  the_pool().run(job, threads - 1);
}

#endif

struct AlignedFree {
  void operator()(void* p) const { std::free(p); }
};

struct ScratchBuffer {
  std::unique_ptr<void, AlignedFree> data;
  size_t capacity = 0;
};

}  // namespace

int num_threads() {
  static const int by_default = default_threads();
  int wanted = threads_wanted.load(std::memory_order_relaxed);
  return wanted > 0 ? wanted : by_default;
}

void set_num_threads(int n) {
  threads_wanted = std::max(1, n);
}

void parallel_for(int64_t n, FunctionRef<void(int64_t)> f) {
  int64_t threads = std::min<int64_t>(num_threads() / thread_sharers, n);
  if (threads <= 1 || inside_parallel_for) {
    for (int64_t i = 0; i < n; i++) {
      f(i);
    }
    return;
  }
  Job job{n, f};
  run(job, static_cast<int>(threads));
  if (job.error) {
    std::rethrow_exception(job.error);
  }
}

ThreadShare::ThreadShare(int sharers) : before_(thread_sharers) {
  thread_sharers = std::max(1, sharers);
}

ThreadShare::~ThreadShare() {
  thread_sharers = before_;
}

void* thread_scratch(Scratch slot, size_t bytes) {
  thread_local std::array<ScratchBuffer, static_cast<size_t>(Scratch::count)> buffers;
  ScratchBuffer& buffer = buffers[static_cast<size_t>(slot)];
  if (buffer.capacity < bytes) {
    size_t rounded = (bytes + 4095) / 4096 * 4096;
    buffer.data.reset();
    buffer.capacity = 0;
    buffer.data.reset(std::aligned_alloc(64, rounded));
    if (!buffer.data) {
      throw std::bad_alloc();
    }
    buffer.capacity = rounded;
  }
  return buffer.data.get();
}

}  // namespace metalfaiss::cpu
