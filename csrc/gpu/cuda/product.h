// Matrix products by cuBLASLt, which MLX's CUDA backend brings.
#pragma once

#include "gpu/cuda/mlx_cuda.h"
#include "gpu/launch.h"

namespace metalfaiss::gpu {

// Enqueues out = A B (or A transposed B), of operands that the encoder knows already.
void multiply(const Product& product, const void* a, const void* b, void* out, mx::cu::CommandEncoder& encoder);

}  // namespace metalfaiss::gpu
