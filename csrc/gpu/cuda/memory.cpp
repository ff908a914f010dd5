#include "gpu/cuda/memory.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <string>
#include <vector>

#include "gpu/cuda/kept_buffers.h"
#include "mlx/memory.h"

namespace metalfaiss::gpu {

namespace {

using mx::cu::CudaBuffer;

constexpr size_t kMostKept = size_t{2} << 30;  // bytes of released memory

// Sizes that differ by less than an eighth share memory.
size_t rounded(int64_t bytes) {
  auto size = static_cast<size_t>(std::max<int64_t>(bytes, 1));
  size_t unit = std::max<size_t>(512, std::bit_floor(size) / 8);
  return (size + unit - 1) / unit * unit;
}

// Results are ignored: at the end of the process the driver may be gone before the last array is.
void give_back(CudaBuffer* buffer) {
  auto address = reinterpret_cast<CUdeviceptr>(buffer->data);
  unsigned int type = 0;
  if (address && cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address) == CUDA_SUCCESS) {
    bool pinned = type == CU_MEMORYTYPE_HOST;
    unsigned int managed = 0;
    cuPointerGetAttribute(&managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, address);
    if (pinned && !managed) {
      cuMemFreeHost(buffer->data);
    } else {
      cuMemFree(address);
    }
  }
  delete buffer;
}

void give_back(const std::vector<CudaBuffer*>& buffers) {
  for (CudaBuffer* buffer : buffers) {
    give_back(buffer);
  }
}

// Released memory. MLX moves memory that the host reads to managed memory, and marks it with device -1: outputs use
// that again, since the host will read them, too.
KeptBuffers<CudaBuffer>& released() {
  static auto* all =
      new KeptBuffers<CudaBuffer>(kMostKept);  // never destroyed: arrays may outlive this library's statics
  return *all;
}

void release(CudaBuffer* buffer) {
  if (buffer->data) {
    give_back(released().add(buffer));
  } else {
    give_back(buffer);
  }
}

constexpr int kManaged = -1;

CudaBuffer* allocate(mx::cu::Device& device, size_t size, bool for_host) {
  CudaBuffer* used = for_host ? released().take(kManaged, size) : nullptr;
  if (used || (used = released().take(device.cuda_device(), size))) {
    return used;
  }
  device.make_current();
  CUdeviceptr address = 0;
  CUresult result = cuMemAlloc(&address, size);
  if (result == CUDA_ERROR_OUT_OF_MEMORY) {
    give_back(released().clear());
    mx::clear_cache();
    result = cuMemAlloc(&address, size);
  }
  if (result == CUDA_ERROR_OUT_OF_MEMORY) {
    throw std::runtime_error("[gpu] The GPU must have " + std::to_string(size) + " bytes of free memory. It has not.");
  }
  check(result, "cuMemAlloc");
  return new CudaBuffer{reinterpret_cast<void*>(address), size, device.cuda_device()};
}

}  // namespace

mx::allocator::Data device_memory(mx::cu::Device& device, int64_t bytes, bool for_host) {
  CudaBuffer* buffer = bytes > 0 ? allocate(device, rounded(bytes), for_host) : new CudaBuffer{nullptr, 0, kManaged};
  return mx::allocator::Data(mx::allocator::Buffer(buffer),
                             [](mx::allocator::Buffer b) { release(static_cast<CudaBuffer*>(b.ptr())); });
}

mx::array device_temporary(mx::cu::Device& device, int64_t bytes) {
  // MLX commits its graphs by the elements that their inputs have.
  int64_t size = std::clamp<int64_t>(bytes, 1, std::numeric_limits<mx::ShapeElem>::max());
  mx::array out({static_cast<mx::ShapeElem>(size)}, mx::uint8, nullptr, {});
  out.set_data(device_memory(device, bytes, false));
  return out;
}

}  // namespace metalfaiss::gpu
