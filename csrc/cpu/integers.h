// The arithmetic of sizes.
#pragma once

#include "cpu/simd.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

METALFAISS_INLINE constexpr int64_t at_most(int64_t x, int64_t most) {
  return x < most ? x : most;
}
METALFAISS_INLINE constexpr int64_t at_least(int64_t x, int64_t least) {
  return x > least ? x : least;
}
METALFAISS_INLINE constexpr int64_t ceil_div(int64_t x, int64_t y) {
  return (x + y - 1) / y;
}
METALFAISS_INLINE constexpr int64_t round_up(int64_t x, int64_t unit) {
  return ceil_div(x, unit) * unit;
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
