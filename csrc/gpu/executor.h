// Who runs a plan: the executor of the stream's device.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gpu/launch.h"
#include "mlx/allocator.h"
#include "mlx/array.h"
#include "mlx/stream.h"

namespace metalfaiss::gpu {

namespace mx = mlx::core;

class Executor {
 public:
  virtual ~Executor() = default;

  // Enqueues the plan's steps on the stream. Outputs have memory; temporaries are the executor's to allocate.
  virtual void run(const Plan& plan, const std::vector<mx::array>& inputs, const std::vector<mx::array>& outputs,
                   mx::Stream stream) = 0;

  // Memory for an output of an operation on the stream.
  virtual mx::allocator::Data allocate(int64_t bytes, mx::Stream stream) {
    return mx::allocator::malloc(static_cast<size_t>(bytes));
  }

  // Bytes of temporaries that an operation which divides its work should use at most.
  virtual int64_t scratch_bytes() const { return 64 << 20; }

  // Columns up to which an exact search scans rows by 16-bit matrix instructions; 0 where there are none.
  virtual int64_t scan_columns() const { return 0; }

  // Whether it has tensor cores, and products of float32 that are faster than the project's kernels.
  virtual bool multiplies() const { return false; }

  // Whether it honours Launch::guard, and computes in float64 at half of float32's rate: then qr goes by way of the
  // Gram matrix.
  virtual bool has_fast_float64() const { return false; }

  // Bytes of threadgroup memory that a launch may have.
  virtual int64_t threadgroup_bytes() const { return 32 << 10; }

  // Threadgroups that fill the device where each wants all of a multiprocessor's threadgroup memory.
  virtual int64_t multiprocessors() const { return 132; }

  // How its kernels are compiled, for show_config().
  virtual std::string description() const = 0;
};

// The executor that runs operations of this stream, or nullptr where CPU kernels do or nobody can.
Executor* executor(mx::Stream stream);

// Runs every operation, whatever its stream, through `simulator`: for tests. nullptr ends it.
void simulate(Executor* simulator);

// The executor of this machine's GPU, or nullptr where there is none (metal.cpp, cuda.cpp).
Executor* device_executor();

// Why there is none, as a sentence.
std::string why_no_executor();

// A temporary of the plan.
mx::array temporary(int64_t bytes);

// The flattened source of metal/<family>.metal, embedded by the build. Throws std::out_of_range for an unknown family.
std::string_view kernel_source(std::string_view family);
std::vector<std::string_view> kernel_families();

// The source that a launch compiles: its constants and its own name in front of the family's text.
std::string specialised_source(const Launch& launch);

}  // namespace metalfaiss::gpu
