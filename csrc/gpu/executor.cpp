#include "gpu/executor.h"

#include <atomic>

#include "mlx/allocator.h"

namespace metalfaiss::gpu {

namespace {

std::atomic<Executor*> g_simulator = nullptr;

}  // namespace

Executor* executor(mx::Stream stream) {
  if (Executor* simulator = g_simulator) {
    return simulator;
  }
  return stream.device == mx::Device::gpu ? device_executor() : nullptr;
}

void simulate(Executor* simulator) {
  g_simulator = simulator;
}

mx::array temporary(int64_t bytes) {
  mx::array out({static_cast<mx::ShapeElem>(1)}, mx::uint8, nullptr, {});
  out.set_data(mx::allocator::malloc(static_cast<size_t>(bytes)));
  return out;
}

std::string specialised_source(const Launch& launch) {
  std::string_view text = kernel_source(launch.family);
  // Behind the system's headers, which use names like T themselves; flatten.py puts them first.
  size_t system = 0;
  while (text.substr(system).starts_with("#include <")) {
    system = text.find('\n', system) + 1;
  }
  std::string source(text.substr(0, system));
  for (const Constant& constant : launch.constants) {
    source += "#define " + constant.name + " " + constant.value + "\n";
  }
  source += "#define " + launch.kernel + " " + launch.name() + "\n";
  source += text.substr(system);
  return source;
}

}  // namespace metalfaiss::gpu
