// CUDA C++ to machine code, by NVRTC.
#pragma once

#include <string>

namespace metalfaiss::gpu {

// "13.0"
std::string nvrtc_version();

// As --gpu-architecture names it: sm_90 where NVRTC knows the GPU, otherwise the newest compute_* below it, whose PTX
// the driver compiles.
std::string architecture(int major, int minor);

// A cubin, or PTX for compute_*. Throws std::runtime_error with the compiler's log.
std::string compile(const std::string& source, const std::string& name, const std::string& architecture);

// The options of compile(), for the key of a cache.
std::string compiler_options();

}  // namespace metalfaiss::gpu
