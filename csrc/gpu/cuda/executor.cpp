// The executor of NVIDIA GPUs, on MLX's CUDA backend: a library of its own, since it needs symbols that only the CUDA
// variant of libmlx has. csrc/gpu/cuda.cpp loads it.
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "gpu/cuda/kernels.h"
#include "gpu/cuda/memory.h"
#include "gpu/cuda/product.h"
#include "gpu/executor.h"

namespace metalfaiss::gpu {

void check(CUresult result, const char* call) {
  if (result != CUDA_SUCCESS) {
    const char* text = nullptr;
    cuGetErrorString(result, &text);
    throw std::runtime_error(std::string("[gpu] CUDA must run ") + call + ". It said: " + (text ? text : "unknown") +
                             ".");
  }
}

namespace {

constexpr size_t kStepsOfGraph = 16;  // of long plans: the GPU works on them while the host, 5 us a step, enqueues more
constexpr int64_t kGridLimit = 65535;  // blocks along y and z: beyond, msl_group() finds the position along x

dim3 grid_of(const Launch& launch) {
  auto [x, y, z] = launch.groups;
  if (y > kGridLimit || z > kGridLimit) {
    x *= y * z;
    y = z = 1;
  }
  if (x > std::numeric_limits<int32_t>::max()) {
    throw std::runtime_error("[" + launch.kernel + "] The grid must have fewer than 2^31 blocks. It has " +
                             std::to_string(x) + ".");
  }
  return dim3(static_cast<unsigned>(x), static_cast<unsigned>(y), static_cast<unsigned>(z));
}

// One run of a plan.
class Run {
 public:
  Run(const Plan& plan, const std::vector<mx::array>& inputs, const std::vector<mx::array>& outputs, mx::Stream stream)
      : inputs_(inputs), outputs_(outputs), encoder_(mx::cu::get_command_encoder(stream)) {
    encoder_.device().make_current();
    for (int64_t bytes : plan.scratch) {
      scratch_.push_back(device_temporary(encoder_.device(), bytes));
      encoder_.set_input_array(scratch_.back());  // counts its bytes
    }
    keep();  // now: they must outlive the graph also where a later launch throws
  }

  // Lets the GPU begin with what is enqueued.
  void begin() {
    encoder_.commit();
    keep();
  }

  void operator()(const Product& product) const {
    if (product.m * product.n == 0) {
      return;
    }
    void* a = use(read(product.a));
    void* b = use(read(product.b));
    void* out = use(write(product.out));
    multiply(product, a, b, out, encoder_);
  }

  void operator()(const Launch& launch) const {
    if (launch.groups.x * launch.groups.y * launch.groups.z == 0) {
      return;
    }
    Kernel made = kernel(launch, encoder_.device());
    std::vector<void*> addresses(launch.arguments.size()), parameters;
    for (size_t i = 0; i < launch.arguments.size(); i++) {
      if (auto* buffer = std::get_if<Buffer>(&launch.arguments[i])) {
        addresses[i] = use(*buffer);
      }
    }
    for (int i : made.order) {
      auto* bytes = std::get_if<Bytes>(&launch.arguments.at(i));
      parameters.push_back(bytes ? const_cast<std::byte*>(bytes->data()) : static_cast<void*>(&addresses[i]));
    }
    alignas(16) uint32_t groups[4] = {static_cast<uint32_t>(launch.groups.x), static_cast<uint32_t>(launch.groups.y),
                                      static_cast<uint32_t>(launch.groups.z), 0};
    parameters.push_back(groups);
    void* guard = launch.guard ? use(read(*launch.guard)) : nullptr;
    parameters.push_back(&guard);
    dim3 block(static_cast<unsigned>(launch.threads.x), static_cast<unsigned>(launch.threads.y),
               static_cast<unsigned>(launch.threads.z));
    encoder_.add_kernel_node_raw(made.function, grid_of(launch), block, {},
                                 static_cast<uint32_t>(launch.threadgroup_bytes), parameters.data());
  }

 private:
  // Until the graph that is being enqueued has run.
  void keep() {
    for (const mx::array& array : scratch_) {
      encoder_.add_temporary(array);
    }
    for (const mx::array& out : outputs_) {
      encoder_.add_temporary(out);  // see device_memory()
    }
  }

  // MLX's encoder orders a launch behind the last that wrote its arrays, but not behind those that read them: here what
  // is not an input of the operation is always as if written.
  void* use(const Buffer& buffer) const {
    const Memory& memory = buffer.memory;
    using Kind = Memory::Kind;
    const auto& arrays = memory.kind == Kind::input ? inputs_ : memory.kind == Kind::output ? outputs_ : scratch_;
    const mx::array& array = arrays.at(memory.index);
    if (memory.kind == Kind::input) {
      encoder_.set_input_array(array);
    } else {
      encoder_.set_output_array(array);
    }
    return static_cast<char*>(mx::gpu_ptr<void>(array)) + memory.offset;
  }

  const std::vector<mx::array>& inputs_;
  const std::vector<mx::array>& outputs_;
  std::vector<mx::array> scratch_;
  mx::cu::CommandEncoder& encoder_;
};

int attribute(CUdevice_attribute which) {
  CUdevice device = 0;
  int value = 0;
  check(cuDeviceGet(&device, 0), "cuDeviceGet");
  check(cuDeviceGetAttribute(&value, which, device), "cuDeviceGetAttribute");
  return value;
}

class CudaExecutor : public Executor {
 public:
  void run(const Plan& plan, const std::vector<mx::array>& inputs, const std::vector<mx::array>& outputs,
           mx::Stream stream) override {
    Run run(plan, inputs, outputs, stream);
    for (size_t i = 0; i < plan.steps.size(); i++) {
      std::visit(run, plan.steps[i]);
      if (i % kStepsOfGraph == kStepsOfGraph - 1 && plan.steps.size() - i > kStepsOfGraph / 2) {
        run.begin();
      }
    }
  }

  mx::allocator::Data allocate(int64_t bytes, mx::Stream stream) override {
    return device_memory(mx::cu::get_command_encoder(stream).device(), bytes, true);
  }

  // More parts cost more: enqueueing a product takes the host 20 microseconds, in which an H200 moves 80 MB.
  int64_t scratch_bytes() const override { return 256 << 20; }

  int64_t scan_columns() const override { return 256; }

  bool multiplies() const override { return true; }

  // Of data centres' GPUs: others have a 32nd or a 64th of float32's rate.
  bool has_fast_float64() const override {
    static const int ratio = attribute(CU_DEVICE_ATTRIBUTE_SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO);
    return ratio <= 2;
  }

  int64_t threadgroup_bytes() const override {
    static const int64_t bytes = attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
    return bytes;
  }

  int64_t multiprocessors() const override {
    static const int64_t count = attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    return count;
  }

  std::string description() const override { return describe_kernels(mx::cu::device(0)); }
};

}  // namespace

// What csrc/gpu/cuda.cpp looks for.
extern "C" __attribute__((visibility("default"))) Executor* metalfaiss_cuda_executor() {
  static CudaExecutor cuda;
  return &cuda;
}

}  // namespace metalfaiss::gpu
