// MLX's own matrix product into memory of ours.
#pragma once

#include "gpu/launch.h"
#include "mlx/array.h"
#include "mlx/stream.h"

namespace metalfaiss::gpu {

// Where an operand lies: the memory of an array, from a byte behind its first element.
struct Place {
  mlx::core::array array;
  int64_t offset;
};

// Enqueues out = A B (or A transposed B). Matmul::eval_gpu would do, but it allocates its output, which MLX frees only
// when the command buffer has run: a plan that goes through chunks would hold all of them at once.
void multiply(const Product& product, const Place& a, const Place& b, Place out, mlx::core::Stream stream);

}  // namespace metalfaiss::gpu
