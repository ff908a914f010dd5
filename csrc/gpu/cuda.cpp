// Who loads the executor of NVIDIA GPUs (csrc/gpu/cuda): a library beside the extension that only the CUDA variant of
// libmlx can satisfy, so that one build of the package serves both variants.
#if !defined(__APPLE__)

#include <dlfcn.h>

#include <filesystem>

#include "gpu/executor.h"
#include "mlx/backend/gpu/device_info.h"

namespace metalfaiss::gpu {

namespace {

constexpr char kLibrary[] = "libmetalfaiss_cuda.so";
constexpr char kEntry[] = "metalfaiss_cuda_executor";

struct Found {
  Executor* executor = nullptr;
  std::string problem;
};

std::filesystem::path library_path() {
  Dl_info self;
  dladdr(reinterpret_cast<const void*>(&device_executor), &self);
  return std::filesystem::path(self.dli_fname).parent_path() / kLibrary;
}

Found find() {
  if (!mx::gpu::is_available()) {
    return {nullptr, "The MLX that is installed finds no GPU."};
  }
  std::filesystem::path path = library_path();
  if (!std::filesystem::exists(path)) {
    return {nullptr, "MetalFaiss was built without its CUDA executor: CUDA's headers were missing."};
  }
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* entry = library ? dlsym(library, kEntry) : nullptr;
  if (!entry) {
    return {nullptr, std::string("The CUDA executor cannot be loaded: ") + dlerror() + "."};
  }
  return {reinterpret_cast<Executor* (*)()>(entry)(), ""};
}

const Found& found() {
  static const Found once = find();
  return once;
}

}  // namespace

Executor* device_executor() {
  return found().executor;
}

std::string why_no_executor() {
  return found().problem;
}

}  // namespace metalfaiss::gpu

#endif
