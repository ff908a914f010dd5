// The executor of Apple GPUs.
//
// MLX decides after each primitive whether to commit the command buffer, from the launches it counted: an executor
// must not, since MLX adds a completion handler to the buffer it had before the primitive ran.
#if defined(__APPLE__)

#include <dlfcn.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <unordered_set>

#include "gpu/executor.h"
#include "gpu/metal_product.h"
#include "mlx/backend/metal/device.h"
#include "mlx/backend/metal/metal.h"

namespace metalfaiss::gpu {

namespace {

namespace metal = mx::metal;

// Names of libraries are shared by the whole process.
constexpr char kPrefix[] = "metalfaiss_" METALFAISS_VERSION "_";

// The kernels that were compiled when the package was built, where it was built with Xcode.
class AheadOfTime {
 public:
  static const AheadOfTime& get() {
    static const AheadOfTime library;
    return library;
  }

  // The library that has the kernel, or nullptr.
  MTL::Library* find(const std::string& kernel) const { return kernels_.contains(kernel) ? library_ : nullptr; }
  size_t size() const { return kernels_.size(); }

 private:
  AheadOfTime() {
    Dl_info self;
    if (!dladdr(reinterpret_cast<const void*>(&device_executor), &self)) {
      return;
    }
    auto path = std::filesystem::path(self.dli_fname).parent_path() / "metalfaiss.metallib";
    if (!std::filesystem::exists(path)) {
      return;
    }
    auto pool = NS::TransferPtr(NS::AutoreleasePool::alloc()->init());
    library_ = metal::device(mx::Device::gpu).get_library(kPrefix + std::string("ahead_of_time"), path.string());
    NS::Array* names = library_->functionNames();
    for (NS::UInteger i = 0; i < names->count(); i++) {
      kernels_.emplace(names->object<NS::String>(i)->utf8String());
    }
  }

  MTL::Library* library_ = nullptr;
  std::unordered_set<std::string> kernels_;
};

MTL::ComputePipelineState* pipeline(metal::Device& device, const Launch& launch) {
  std::string name = launch.name();
  MTL::Library* library = AheadOfTime::get().find(name);
  if (!library) {
    library = device.get_library(kPrefix + name, [&] { return specialised_source(launch); });
  }
  MTL::ComputePipelineState* kernel = device.get_kernel(name, library);
  int64_t threads = launch.threads.x * launch.threads.y * launch.threads.z;
  if (threads > static_cast<int64_t>(kernel->maxTotalThreadsPerThreadgroup())) {
    throw std::runtime_error("[" + launch.kernel + "] The GPU must run threadgroups of " + std::to_string(threads) +
                             " threads. It allows " + std::to_string(kernel->maxTotalThreadsPerThreadgroup()) +
                             " for " + name + ".");
  }
  return kernel;
}

MTL::Size metal_size(const Size& size) {
  return MTL::Size(size.x, size.y, size.z);
}

// One run of a plan.
class Run {
 public:
  Run(const Plan& plan, const std::vector<mx::array>& inputs, const std::vector<mx::array>& outputs, mx::Stream stream)
      : inputs_(inputs), outputs_(outputs), stream_(stream) {
    for (int64_t bytes : plan.scratch) {
      scratch_.push_back(temporary(bytes));
    }
    // Now: they must outlive the command buffer also where a later launch throws.
    metal::get_command_encoder(stream_).add_temporaries(scratch_);
  }

  void operator()(const Product& product) const {
    multiply(product, place(product.a), place(product.b), place(product.out), stream_);
  }

  void operator()(const Launch& launch) const {
    if (launch.guard) {
      throw std::logic_error("[" + launch.kernel + "] A launch on Metal must have no guard. It has one.");
    }
    auto& encoder = metal::get_command_encoder(stream_);
    encoder.set_compute_pipeline_state(pipeline(metal::device(stream_.device), launch));
    for (int i = 0; i < static_cast<int>(launch.arguments.size()); i++) {
      bind(encoder, launch.arguments[i], i);
    }
    if (launch.threadgroup_bytes > 0) {
      encoder.set_threadgroup_memory_length((launch.threadgroup_bytes + 15) / 16 * 16, 0);
    }
    encoder.dispatch_threadgroups(metal_size(launch.groups), metal_size(launch.threads));
  }

 private:
  Place place(const Memory& memory) const {
    using Kind = Memory::Kind;
    const auto& arrays = memory.kind == Kind::input ? inputs_ : memory.kind == Kind::output ? outputs_ : scratch_;
    return {arrays.at(memory.index), memory.offset};
  }

  void bind(metal::CommandEncoder& encoder, const Argument& argument, int index) const {
    if (auto* bytes = std::get_if<Bytes>(&argument)) {
      encoder.set_bytes(bytes->data(), static_cast<int>(bytes->size()), index);
      return;
    }
    const auto& buffer = std::get<Buffer>(argument);
    Place at = place(buffer.memory);
    if (buffer.access == Access::read) {
      encoder.set_input_array(at.array, index, at.offset);
    } else {  // an output is ordered behind earlier writes as an input is, so this covers read_write
      encoder.set_output_array(at.array, index, at.offset);
    }
  }

  const std::vector<mx::array>& inputs_;
  const std::vector<mx::array>& outputs_;
  std::vector<mx::array> scratch_;
  mx::Stream stream_;
};

class MetalExecutor : public Executor {
 public:
  void run(const Plan& plan, const std::vector<mx::array>& inputs, const std::vector<mx::array>& outputs,
           mx::Stream stream) override {
    Run run(plan, inputs, outputs, stream);
    for (const Step& step : plan.steps) {
      std::visit(run, step);
    }
  }

  std::string description() const override {
    size_t ahead = AheadOfTime::get().size();
    return (ahead ? std::to_string(ahead) + " kernels compiled ahead of time (metalfaiss.metallib), others"
                  : "compiled") +
           std::string(" at run time from the embedded source");
  }
};

}  // namespace

Executor* device_executor() {
  static MetalExecutor metal;
  return metal::is_available() ? &metal : nullptr;
}

std::string why_no_executor() {
  return metal::is_available() ? "" : "MLX finds no Metal device.";
}

}  // namespace metalfaiss::gpu

#endif
