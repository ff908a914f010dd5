// The little that a native test needs: it runs every SIMD level of the machine and counts what failed.
#pragma once

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "cpu/dispatch.h"
#include "cpu/matrix.h"
#include "cpu/parallel.h"

namespace metalfaiss::cpu {

inline int failures = 0;

#define CHECK(...)                                                                                             \
  do {                                                                                                         \
    if (!(__VA_ARGS__)) {                                                                                      \
      std::printf("%s:%d [%s] failed: %s\n", __FILE__, __LINE__, simd_level_name(simd_level()), #__VA_ARGS__); \
      failures++;                                                                                              \
    }                                                                                                          \
  } while (0)

inline std::vector<float> normal(size_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> distribution;
  std::vector<float> x(n);
  for (float& v : x) {
    v = distribution(engine);
  }
  return x;
}

inline bool each_index_once(int64_t n) {
  std::vector<std::atomic<int>> calls(n);
  parallel_for(n, [&](int64_t i) { calls[i]++; });
  for (auto& c : calls) {
    if (c != 1) {
      return false;
    }
  }
  return true;
}

inline Matrix row_major(const std::vector<float>& x, int64_t rows, int64_t cols) {
  return {x.data(), Float::f32, rows, cols, cols, 1};
}

// Runs `test` at every level and reports. Returns the exit status of the program.
template <typename F>
int at_every_level(F test) {
  for (auto level : {SimdLevel::portable, SimdLevel::avx2, SimdLevel::avx512, SimdLevel::neon}) {
    if (simd_level_supported(level)) {
      set_simd_level(level);
      int before = failures;
      test();
      std::printf("%s: %s\n", simd_level_name(level), failures == before ? "ok" : "FAILED");
    }
  }
  return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

}  // namespace metalfaiss::cpu
