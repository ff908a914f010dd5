// Memory on the device. MLX's exported allocator gives managed memory, which costs page faults and, from its cache, a
// synchronous copy; its own operations use a function that it does not export.
#pragma once

#include <cstdint>

#include "gpu/cuda/mlx_cuda.h"

namespace metalfaiss::gpu {

// For arrays whose uses are all kept alive by their command encoder until they have run: what is released is free for
// any stream. MLX does not count it (mx.get_active_memory), and clears none of it (mx.clear_cache).
// `for_host`: may be managed memory that an output had which the host has read.
mx::allocator::Data device_memory(mx::cu::Device& device, int64_t bytes, bool for_host);

// An array of bytes on the device.
mx::array device_temporary(mx::cu::Device& device, int64_t bytes);

}  // namespace metalfaiss::gpu
