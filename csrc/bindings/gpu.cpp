// The kernels and launches as Python sees them: what a plan asks for, and tests that run it elsewhere than on a GPU.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <tuple>

#include "bindings/bindings.h"
#include "gpu/executor.h"
#include "ops/common.h"

namespace metalfaiss {

namespace {

namespace mx = mlx::core;

// The bytes that an array's elements occupy, relative to the first one: below it where strides are negative.
std::pair<int64_t, int64_t> extent(const mx::array& a) {
  int64_t low = 0, high = a.size() > 0;
  for (int i = 0; a.size() > 0 && i < static_cast<int>(a.ndim()); i++) {
    int64_t reach = (a.shape(i) - 1) * a.strides(i);
    low += std::min<int64_t>(0, reach);
    high += std::max<int64_t>(0, reach);
  }
  auto bytes = static_cast<int64_t>(a.itemsize());
  return {low * bytes, high * bytes};
}

// Where the memories of a plan lie.
struct Addresses {
  const std::vector<mx::array>& inputs;
  const std::vector<mx::array>& outputs;
  const std::vector<mx::array>& scratch;
  const gpu::Plan& plan;

  // ("input 0", address of the first byte, where the memory begins and ends relative to it).
  nb::tuple operator()(const gpu::Memory& memory) const {
    using Kind = gpu::Memory::Kind;
    const mx::array& a = (memory.kind == Kind::input    ? inputs
                          : memory.kind == Kind::output ? outputs
                                                        : scratch)
                             .at(memory.index);
    auto [low, high] =
        memory.kind == Kind::scratch ? std::pair<int64_t, int64_t>{0, plan.scratch[memory.index]} : extent(a);
    const char* kind = memory.kind == Kind::input ? "input " : memory.kind == Kind::output ? "output " : "scratch ";
    return nb::make_tuple(kind + std::to_string(memory.index),
                          reinterpret_cast<uintptr_t>(a.data<char>()) + memory.offset, low - memory.offset,
                          high - memory.offset);
  }
};

nb::tuple size_of(const gpu::Size& size) {
  return nb::make_tuple(size.x, size.y, size.z);
}

const char* access_of(gpu::Access access) {
  return access == gpu::Access::read ? "read" : access == gpu::Access::write ? "write" : "read_write";
}

nb::object describe(const gpu::Argument& argument, const Addresses& addresses) {
  if (auto* buffer = std::get_if<gpu::Buffer>(&argument)) {
    return nb::make_tuple(addresses(buffer->memory), access_of(buffer->access));
  }
  const auto& bytes = std::get<gpu::Bytes>(argument);
  return nb::bytes(bytes.data(), bytes.size());
}

nb::dict describe(const gpu::Step& step, const Addresses& addresses) {
  nb::dict out;
  if (auto* product = std::get_if<gpu::Product>(&step)) {
    out["step"] = "product";
    out["a"] = addresses(product->a);
    out["b"] = addresses(product->b);
    out["out"] = addresses(product->out);
    out["mnk"] = nb::make_tuple(product->m, product->n, product->k);
    out["strides"] = nb::make_tuple(product->a_stride, product->b_stride);
    out["b_transposed"] = product->b_transposed;
    out["tf32"] = product->tf32;
    out["a_transposed"] = product->a_transposed;
    return out;
  }
  const auto& launch = std::get<gpu::Launch>(step);
  nb::list constants, arguments;
  for (const gpu::Constant& constant : launch.constants) {
    constants.append(nb::make_tuple(constant.name, constant.value));
  }
  for (const gpu::Argument& argument : launch.arguments) {
    arguments.append(describe(argument, addresses));
  }
  out["step"] = "launch";
  out["family"] = launch.family;
  out["kernel"] = launch.kernel;
  out["name"] = launch.name();
  out["source"] = gpu::specialised_source(launch);
  out["constants"] = constants;
  out["arguments"] = arguments;
  out["groups"] = size_of(launch.groups);
  out["threads"] = size_of(launch.threads);
  out["threadgroup_bytes"] = launch.threadgroup_bytes;
  out["guard"] = launch.guard ? nb::object(addresses(*launch.guard)) : nb::none();
  return out;
}

// What must be written by now, whether a step names it or not; and where in its allocation each memory's first element
// lies: a GPU's allocations are aligned, while those of MLX's CPU allocator begin with their size.
nb::dict end(const Addresses& addresses) {
  nb::list outputs;
  nb::dict offsets;
  auto add = [&](const char* kind, const std::vector<mx::array>& arrays) {
    for (size_t i = 0; i < arrays.size(); i++) {
      mx::allocator::Buffer buffer = arrays[i].buffer();
      offsets[nb::str((kind + std::to_string(i)).c_str())] =
          arrays[i].data<char>() - static_cast<const char*>(buffer.raw_ptr());
    }
  };
  add("input ", addresses.inputs);
  add("output ", addresses.outputs);
  add("scratch ", addresses.scratch);
  for (size_t i = 0; i < addresses.outputs.size(); i++) {
    outputs.append(addresses(gpu::output(static_cast<int>(i))));
  }
  nb::dict out;
  out["step"] = "end";
  out["outputs"] = outputs;
  out["offsets"] = offsets;
  return out;
}

// Hands every plan to a Python function, on the CPU stream of the operation and in its order.
class PythonExecutor : public gpu::Executor {
 public:
  PythonExecutor(nb::callable function, bool multiplies) : function_(std::move(function)), multiplies_(multiplies) {}

  void run(const gpu::Plan& plan, const std::vector<mx::array>& inputs, const std::vector<mx::array>& outputs,
           mx::Stream stream) override {
    std::vector<mx::array> scratch;
    for (int64_t bytes : plan.scratch) {
      scratch.push_back(gpu::temporary(bytes));
    }
    ops::schedule(stream, [this, plan, inputs, outputs, scratch] {
      nb::gil_scoped_acquire gil;
      nb::list steps;
      for (const gpu::Step& step : plan.steps) {
        steps.append(describe(step, {inputs, outputs, scratch, plan}));
      }
      steps.append(end({inputs, outputs, scratch, plan}));
      try {
        function_(steps);
      } catch (nb::python_error& e) {  // nothing may leave a stream's thread: the function keeps its own errors
        e.discard_as_unraisable("simulate");
      }
    });
  }

  bool multiplies() const override { return multiplies_; }

  bool has_fast_float64() const override { return multiplies_; }

  int64_t multiprocessors() const override { return 3; }  // so that small products have several slabs

  int64_t threadgroup_bytes() const override { return (multiplies_ ? 227 : 32) << 10; }  // Hopper's, or Apple's

  std::string description() const override { return "simulated"; }

 private:
  nb::callable function_;
  bool multiplies_;
};

std::unique_ptr<PythonExecutor> g_python_executor;

void simulate(nb::object function, bool multiplies) {
  gpu::simulate(nullptr);
  g_python_executor.reset();
  if (!function.is_none()) {
    g_python_executor = std::make_unique<PythonExecutor>(nb::cast<nb::callable>(function), multiplies);
    gpu::simulate(g_python_executor.get());
  }
}

}  // namespace

void bind_gpu(nb::module_& m) {
  m.def(
      "kernel_families",
      [] {
        std::vector<std::string> names;
        for (auto name : gpu::kernel_families()) {
          names.emplace_back(name);
        }
        return names;
      },
      "The GPU kernel families that are embedded in this build.");
  m.def(
      "kernel_source", [](const std::string& family) { return std::string(gpu::kernel_source(family)); }, "family"_a,
      "The flattened source of a GPU kernel family, in Metal Shading Language.");
  m.def(
      "gpu_kernels",
      []() -> std::optional<std::string> {
        gpu::Executor* executor = gpu::device_executor();
        return executor ? std::optional(executor->description()) : std::nullopt;
      },
      "How the kernels of this machine's GPU are compiled; None where operations run on CPU streams only.");
  m.def("why_no_gpu_kernels", &gpu::why_no_executor,
        "Why gpu_kernels() is None, as a sentence; empty where it is not.");
  m.def("simulate", &simulate, "function"_a.none(), "multiplies"_a = false,
        "For tests: hands the steps of every operation to the function, as a list of dicts, in place of running "
        "them. It must keep its errors. `multiplies`: as on a GPU whose own products are preferred. None ends it. "
        "Evaluate what was built before calling it.");
}

}  // namespace metalfaiss
