// Sums and products that stop at the largest number: no count of a file can wrap around.
#pragma once

#include <cstdint>

namespace metalfaiss::faiss_file {

constexpr uint64_t kTooMany = ~uint64_t{0};

constexpr uint64_t times(uint64_t a, uint64_t b) {
  uint64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? kTooMany : product;
}

constexpr uint64_t plus(uint64_t a, uint64_t b) {
  uint64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? kTooMany : sum;
}

}  // namespace metalfaiss::faiss_file
