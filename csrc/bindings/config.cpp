#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

#include "bindings/bindings.h"
#include "cpu/dispatch.h"
#include "cpu/parallel.h"
#include "mlx/array.h"
#include "mlx/version.h"
#include "ops/common.h"

namespace metalfaiss {

namespace {

constexpr cpu::SimdLevel kLevels[] = {cpu::SimdLevel::portable, cpu::SimdLevel::avx2, cpu::SimdLevel::avx512,
                                      cpu::SimdLevel::neon};

std::vector<std::string> simd_levels() {
  std::vector<std::string> names;
  for (auto level : kLevels) {
    if (cpu::simd_level_supported(level)) {
      names.emplace_back(cpu::simd_level_name(level));
    }
  }
  return names;
}

std::vector<std::string> simd_levels_built() {
#if defined(__x86_64__)
  return {"portable", "avx2", "avx512"};
#elif defined(__aarch64__)
  return {"portable", "neon"};
#else
  return {"portable"};
#endif
}

std::string compiler() {
#if defined(__clang__)
  return __VERSION__;  // begins with the name
#elif defined(__GNUC__)
  return "GCC " __VERSION__;
#else
  return "unknown";
#endif
}

void set_simd_level(const std::string& name) {
  std::string known;
  for (auto level : kLevels) {
    if (cpu::simd_level_supported(level)) {
      if (name == cpu::simd_level_name(level)) {
        return cpu::set_simd_level(level);
      }
      known += (known.empty() ? "" : ", ") + std::string(cpu::simd_level_name(level));
    }
  }
  ops::require(false, "set_simd_level", "level must be one of ", known, " on this machine. Received ", name, ".");
}

}  // namespace

void bind_config(nb::module_& m) {
  m.def("mlx_version", [] { return std::string(mlx::core::version()); }, "The version of the libmlx that was loaded.");
  m.def(
      "round_trip", [](const mlx::core::array& x) { return x; }, "x"_a,
      "Returns the array: shows that both sides agree on nanobind's ABI.");
  m.def("simd_levels", &simd_levels, "The SIMD levels that this build has and this machine can run.");
  m.def("simd_levels_built", &simd_levels_built, "The SIMD levels that the CPU kernels were compiled for.");
  m.def("compiler", &compiler, "The compiler of the CPU kernels, with its version.");
  m.def(
      "simd_level", [] { return std::string(cpu::simd_level_name(cpu::simd_level())); },
      "The SIMD level in use by the CPU kernels.");
  m.def("set_simd_level", &set_simd_level, "level"_a,
        "Sets the SIMD level of the CPU kernels, process-wide: one of ``simd_levels()``.");
  m.def("num_threads", &cpu::num_threads, "How many threads a CPU kernel uses.");
  m.def(
      "set_num_threads",
      [](int n) {
        ops::require(n >= 1, "set_num_threads", "n must be at least 1. Received ", n, ".");
        cpu::set_num_threads(n);
      },
      "n"_a, "Sets how many threads a CPU kernel uses, process-wide.");
}

}  // namespace metalfaiss
