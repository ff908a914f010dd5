#include "cpu/dispatch.h"

#include <atomic>
#include <initializer_list>

namespace metalfaiss::cpu {

const char* simd_level_name(SimdLevel level) {
  switch (level) {
    case SimdLevel::avx2:
      return "avx2";
    case SimdLevel::avx512:
      return "avx512";
    case SimdLevel::neon:
      return "neon";
    default:
      return "portable";
  }
}

bool simd_level_supported(SimdLevel level) {
  switch (level) {
    case SimdLevel::portable:
      return true;
#if defined(__x86_64__)
    // The builtins also ask the operating system whether it saves the wide registers.
    case SimdLevel::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
             __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
    case SimdLevel::avx512:
      return simd_level_supported(SimdLevel::avx2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl");
#elif defined(__aarch64__)
    case SimdLevel::neon:
      return true;
#endif
    default:
      return false;
  }
}

SimdLevel best_simd_level() {
  for (SimdLevel level : {SimdLevel::avx512, SimdLevel::avx2, SimdLevel::neon}) {
    if (simd_level_supported(level)) {
      return level;
    }
  }
  return SimdLevel::portable;
}

namespace {
std::atomic<SimdLevel>& level_in_use() {
  static std::atomic<SimdLevel> level{best_simd_level()};
  return level;
}
}  // namespace

SimdLevel simd_level() {
  return level_in_use().load(std::memory_order_relaxed);
}

void set_simd_level(SimdLevel level) {
  level_in_use().store(level, std::memory_order_relaxed);
}

}  // namespace metalfaiss::cpu
