// The launches of gemm_av, gemm_at_b and z_step (metal/gemm.metal, metal/z_step.metal).
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/matrix.h"
#include "gpu/launch.h"

namespace metalfaiss::gpu {

enum class GemmOp { av, at_b, z_step };

// An input of the plan: matrices with strides in elements, of any sign.
struct GemmOperand {
  int64_t rows, columns;
  int64_t row_stride, column_stride;
  std::vector<int64_t> batch_strides = {};  // one for each batch dimension of the output, 0 where it is broadcast
  bool aligned = true;                      // the first element lies at a multiple of 16 bytes
};

// Output 0 = the product of input 0, A, and input 1, V or B; row-contiguous.
struct GemmProblem {
  GemmOp op;
  cpu::Float type;
  GemmOperand a, b;
  std::vector<int64_t> batch = {};  // the output's batch dimensions
};

struct GemmTuning {
  int64_t groups = 512;             // threadgroups wanted of a large product: several for each core of a large GPU
  int64_t few_groups = 32;          // and of a small one, where slabs cost more than idle cores
  int64_t z_groups = 256;           // of z_step, whose threadgroups fill a core with one or two
  int64_t long_contraction = 1024;  // slabs from here on, smaller tiles below
  int64_t y_bytes = 4 << 20;        // of A V at a time, where z_step takes two passes
  int64_t batches = 32768;          // matrices of a launch: CUDA's grids end at 65535
};

// A product of m, n, k in any size, none of the output's dimensions 0. Scratch: sums of slabs in float32, at most an
// eighth of A or 32 outputs, and y_bytes or 64 rows of A V.
Plan plan_gemm(const GemmProblem& problem, const GemmTuning& tuning = {});

}  // namespace metalfaiss::gpu
