// What is kept of released memory: the sizes that are in use, not those of before.
#include <vector>

#include "check.h"
#include "gpu/cuda/kept_buffers.h"

using metalfaiss::cpu::failures;
using metalfaiss::cpu::simd_level;
using metalfaiss::cpu::simd_level_name;
using metalfaiss::gpu::KeptBuffers;

namespace {

struct Buffer {
  size_t size;
  int device;
};

using Buffers = std::vector<Buffer*>;

void test_the_last_released_is_taken_first() {
  KeptBuffers<Buffer> kept(100);
  Buffer a{10, 0}, b{10, 0}, other_size{20, 0}, other_device{10, 1};
  for (Buffer* buffer : {&a, &b, &other_size, &other_device}) {
    CHECK(kept.add(buffer).empty());
  }
  CHECK(kept.take(0, 10) == &b);
  CHECK(kept.take(0, 10) == &a);
  CHECK(kept.take(0, 10) == nullptr);
  CHECK(kept.take(1, 10) == &other_device);
  CHECK(kept.take(0, 30) == nullptr);
  CHECK(kept.clear() == Buffers{&other_size});
  CHECK(kept.take(0, 20) == nullptr);
}

void test_those_that_wait_longest_leave() {
  KeptBuffers<Buffer> kept(100);
  Buffer old_large{60, 0}, old_small{10, 0}, used{30, 0}, fresh{50, 0};
  kept.add(&old_large);
  kept.add(&old_small);
  kept.add(&used);
  CHECK(kept.take(0, 30) == &used);
  CHECK(kept.add(&used).empty());  // 100 bytes
  CHECK(kept.add(&fresh) == Buffers{&old_large});
  CHECK(kept.take(0, 60) == nullptr);
  CHECK(kept.take(0, 30) == &used);
  CHECK(kept.add(&old_large) == Buffers{&old_small, &fresh});  // 120 bytes, and 110
  CHECK(kept.clear() == Buffers{&old_large});
}

void test_what_is_too_large_is_not_kept() {
  KeptBuffers<Buffer> kept(100);
  Buffer small{100, 0}, large{101, 0};
  CHECK(kept.add(&small).empty());
  CHECK(kept.add(&large) == Buffers{&large});
  CHECK(kept.take(0, 100) == &small);
}

// A program that changes its sizes keeps all of the last.
void test_sizes_that_change() {
  KeptBuffers<Buffer> kept(1000);
  std::vector<Buffer> before(100, {10, 0}), now(20, {50, 0});
  size_t freed = 0;
  for (auto* buffers : {&before, &now}) {
    for (Buffer& buffer : *buffers) {
      freed += kept.add(&buffer).size();
    }
  }
  CHECK(freed == before.size());
  for (size_t i = 0; i < now.size(); i++) {
    CHECK(kept.take(0, 50) != nullptr);
  }
  CHECK(kept.clear().empty());
}

}  // namespace

int main() {
  test_the_last_released_is_taken_first();
  test_those_that_wait_longest_leave();
  test_what_is_too_large_is_not_kept();
  test_sizes_that_change();
  return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
