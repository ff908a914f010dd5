// The launches of square_svd (metal/square_svd.metal).
#pragma once

#include <cstdint>

#include "gpu/launch.h"

namespace metalfaiss::gpu {

inline constexpr int64_t kMostSquareSvd = 128;  // rows: what the registers of one threadgroup take

struct SquareSvdTuning {
  int64_t matrices = 1024;  // of a launch: their scratch is 128 KB each at most
};

// Input 0: row-contiguous float32 matrices (matrices, n, n). Outputs 0 to 2: U (matrices, n, n), S (matrices, n) in
// descending order, V transposed (matrices, n, n). n from 1 to kMostSquareSvd.
Plan plan_square_svd(int64_t matrices, int64_t n, const SquareSvdTuning& tuning = {});

}  // namespace metalfaiss::gpu
