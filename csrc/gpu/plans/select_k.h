// What the GPU runs for select_k, from shapes and strides alone.
#pragma once

#include <vector>

#include "gpu/launch.h"

namespace metalfaiss::gpu {

// Sizes that decide how work is split: parameters, so that tests reach every edge with small inputs.
struct SelectKSizes {
  int64_t queue_k = 2048;         // up to this k a queue in threadgroup memory selects, beyond it radix selection
  int64_t simd_n = 1024;          // rows up to this length are selected by a simdgroup each where k <= 128
  int64_t segment = 16384;        // a row is split into segments of at least this many values...
  int64_t segment_per_k = 64;     // ...and this many times k: the pairs of all segments are an eighth of x at most
  int64_t wanted_groups = 1024;   // rows are split until there are so many threadgroups
  int64_t fan_in = 16384;         // pairs that a threadgroup merges at most, unless two lists have more
  int64_t filter_per_k = 16;      // beyond queue_k, rows of this many times k values are read once, by segments
  int64_t radix_row = 16384;      // rows of up to so many values, 16384 at most, are selected in registers
  int64_t radix_segment = 32768;  // values whose histogram a threadgroup makes
  int64_t sort_tile = 2048;       // pairs sorted in threadgroup memory: a power of two, 2048 at most
  int64_t max_groups = 1 << 20;   // of a grid
};

struct SelectKArgs {
  std::vector<int64_t> shape, strides;  // of x, strides in elements
  int element_bytes;                    // 4 or 2
  bool half;                            // of 2 bytes: float16, otherwise bfloat16
  int64_t misaligned;                   // bytes by which x begins behind a multiple of 16
  int64_t k;
  bool largest;
};

// input 0: x; output 0: values (rows, k) of x's dtype; output 1: int64 indices (rows, k). 1 <= k <= n.
Plan select_k_plan(const SelectKArgs& args, const SelectKSizes& sizes = {});

}  // namespace metalfaiss::gpu
