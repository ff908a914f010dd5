// The kernels of launches, compiled.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "gpu/cuda/mlx_cuda.h"
#include "gpu/launch.h"

namespace metalfaiss::gpu {

struct Kernel {
  CUfunction function;
  std::span<const int> order;  // its parameters, as indices of the launch's arguments
};

// The launch's kernel for the device, which is current: from the process, from disk, or compiled. Any thread may ask.
Kernel kernel(const Launch& launch, mx::cu::Device& device);

// How kernels are compiled, in words.
std::string describe_kernels(mx::cu::Device& device);

// ---------------------------------------------------------------- what metal/tools/embed.py makes

struct CudaKernel {
  std::string_view name;
  std::span<const int> order;
};

struct CudaFamily {
  std::string_view name, source;  // the translated source, without the header
  std::span<const CudaKernel> kernels;
};

std::string_view cuda_header();  // gives the words of Metal their CUDA meaning; goes first
std::span<const CudaFamily> cuda_families();

// The source that a launch compiles.
std::string cuda_source(const Launch& launch, const CudaFamily& family);

}  // namespace metalfaiss::gpu
