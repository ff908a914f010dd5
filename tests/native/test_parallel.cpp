// parallel_for calls every index once, from several callers at once and nested.
#include <stdexcept>
#include <thread>

#include "check.h"

using namespace metalfaiss::cpu;

namespace {

void test_counts() {
  for (int threads : {1, 2, 3, 8}) {
    set_num_threads(threads);
    CHECK(num_threads() == threads);
    for (int64_t n : {0, 1, 2, 7, 1000}) {
      CHECK(each_index_once(n));
    }
  }
}

void test_nested() {
  std::atomic<int> calls{0};
  parallel_for(5, [&](int64_t) { parallel_for(7, [&](int64_t) { calls++; }); });
  CHECK(calls == 35);
}

void test_concurrent_callers() {
  std::atomic<int> good{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 6; t++) {
    callers.emplace_back([&] {
      for (int round = 0; round < 200; round++) {
        good += each_index_once(1 + round % 17);
      }
    });
  }
  for (auto& caller : callers) {
    caller.join();
  }
  CHECK(good == 6 * 200);
}

void test_exceptions() {
  for (int threads : {1, 4}) {
    set_num_threads(threads);
    std::atomic<int> calls{0};
    bool caught = false;
    try {
      parallel_for(100000, [&](int64_t i) {
        calls++;
        if (i % 2 == 1) {
          throw std::runtime_error("odd");
        }
      });
    } catch (const std::runtime_error&) {
      caught = true;
    }
    CHECK(caught && calls < 100000);
    CHECK(each_index_once(100));
  }
}

void test_scratch() {
  auto address = [](void* p) { return reinterpret_cast<uintptr_t>(p); };
  void* a = thread_scratch(Scratch::packed_a, 100);
  void* b = thread_scratch(Scratch::packed_b, 100);
  CHECK(a != b);
  CHECK(address(a) % 64 == 0 && address(b) % 64 == 0);
  CHECK(thread_scratch(Scratch::packed_a, 50) == a);
}

}  // namespace

int main() {
  test_counts();
  test_nested();
  test_concurrent_callers();
  test_exceptions();
  test_scratch();
  return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
