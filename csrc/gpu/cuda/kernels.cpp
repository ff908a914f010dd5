#include "gpu/cuda/kernels.h"

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <unordered_map>

#include "gpu/cuda/compiler.h"
#include "gpu/cuda/disk_cache.h"

namespace metalfaiss::gpu {

namespace {

const CudaFamily& family_of(const Launch& launch) {
  for (const CudaFamily& family : cuda_families()) {
    if (family.name == launch.family) {
      return family;
    }
  }
  throw std::out_of_range("no kernel family " + launch.family);
}

std::span<const int> order_of(const Launch& launch, const CudaFamily& family) {
  for (const CudaKernel& kernel : family.kernels) {
    if (kernel.name == launch.kernel) {
      return kernel.order;
    }
  }
  throw std::out_of_range("no kernel " + launch.kernel + " in " + launch.family);
}

int64_t threads_of(const Launch& launch) {
  return launch.threads.x * launch.threads.y * launch.threads.z;
}

std::string architecture_of(mx::cu::Device& device) {
  return architecture(device.compute_capability_major(), device.compute_capability_minor());
}

const DiskCache& disk_cache() {
  static const DiskCache cache = [] {
    auto folder = DiskCache::user_folder();
    return DiskCache(folder.empty() ? folder : folder / "cuda");
  }();
  return cache;
}

// What the code depends on. The driver compiles PTX; of machine code it is only the judge.
std::string key_of(const std::string& source, const std::string& target) {
  int driver = 0;
  check(cuDriverGetVersion(&driver), "cuDriverGetVersion");
  return "nvrtc " + nvrtc_version() + ", driver " + std::to_string(driver) + ", " + target + ", " + compiler_options() +
         "\n" + source;
}

constexpr int64_t kUsualMemory = 48 << 10;  // bytes of dynamic shared memory that a block has without asking

CUfunction load(const std::string& code, const std::string& name, int64_t dynamic_memory) {
  CUmodule module = nullptr;
  check(cuModuleLoadData(&module, code.c_str()), "cuModuleLoadData");
  CUfunction function = nullptr;
  check(cuModuleGetFunction(&function, module, name.c_str()), "cuModuleGetFunction");
  if (dynamic_memory > kUsualMemory) {
    check(
        cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, static_cast<int>(dynamic_memory)),
        "cuFuncSetAttribute");
  }
  return function;  // the module is never unloaded
}

CUfunction make(const Launch& launch, const CudaFamily& family, mx::cu::Device& device) {
  std::string name = launch.name(), target = architecture_of(device), source = cuda_source(launch, family);
  std::string key = key_of(source, target);
  if (auto code = disk_cache().load(key)) {
    try {
      return load(*code, name, launch.threadgroup_bytes);
    } catch (const std::runtime_error&) {  // whatever the driver dislikes about it: compiled again, and replaced
    }
  }
  std::string code = compile(source, name, target);
  CUfunction function = load(code, name, launch.threadgroup_bytes);
  disk_cache().store(key, code);
  return function;
}

}  // namespace

std::string cuda_source(const Launch& launch, const CudaFamily& family) {
  std::string source(cuda_header());
  source += "#define MSL_ONLY_" + launch.kernel + "\n#define MSL_THREADS " + std::to_string(threads_of(launch)) + "\n";
  for (const Constant& constant : launch.constants) {
    source += "#define " + constant.name + " " + constant.value + "\n";
  }
  source += "#define " + launch.kernel + " " + launch.name() + "\n";
  source += family.source;
  return source;
}

Kernel kernel(const Launch& launch, mx::cu::Device& device) {
  static std::mutex mutex;
  static auto* kernels = new std::unordered_map<std::string, Kernel>;
  std::string key = std::to_string(device.cuda_device()) + " " + std::to_string(threads_of(launch)) + " " +
                    std::to_string(std::max(launch.threadgroup_bytes, kUsualMemory)) + " " + launch.name();
  {
    std::lock_guard lock(mutex);
    if (auto found = kernels->find(key); found != kernels->end()) {
      return found->second;
    }
  }
  // Two threads may compile one kernel: better than one that waits for every other.
  const CudaFamily& family = family_of(launch);
  Kernel made{make(launch, family, device), order_of(launch, family)};
  std::lock_guard lock(mutex);
  return kernels->emplace(key, made).first->second;
}

std::string describe_kernels(mx::cu::Device& device) {
  const auto& folder = disk_cache().folder();
  return "compiled by NVRTC " + nvrtc_version() + " for " + architecture_of(device) +
         " when they first run, from the embedded source; " +
         (folder.empty() ? "not kept on disk" : "kept in " + folder.string());
}

}  // namespace metalfaiss::gpu
