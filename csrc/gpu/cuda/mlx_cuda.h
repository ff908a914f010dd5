// MLX's CUDA backend. Its headers count on others having included <cassert>.
#pragma once

#include <cassert>
// Kept in this order.
#include "mlx/backend/cuda/device.h"
#include "mlx/backend/cuda/utils.h"

namespace metalfaiss::gpu {

namespace mx = mlx::core;

// Throws std::runtime_error, with what the driver says, unless `result` is success.
void check(CUresult result, const char* call);

}  // namespace metalfaiss::gpu
