// What every operation shares: errors in the house form, dtype rules, matrices as the kernels see them, batching.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cpu/matrix.h"
#include "errors.h"
#include "gpu/launch.h"
#include "mlx/array.h"
#include "mlx/ops.h"
#include "mlx/primitives.h"
#include "mlx/utils.h"

namespace metalfaiss::ops {

namespace mx = mlx::core;

// Appends a part of a message. Not a stream: its locale machinery is shared between libraries, and breaks where one of
// them brings its own copy of the C++ library.
inline void append(std::string& out, std::string_view part) {
  out += part;
}

template <typename T>
  requires std::is_arithmetic_v<T>
void append(std::string& out, T part) {
  out += std::to_string(part);
}

void append(std::string& out, const mx::Shape& shape);  // as Python prints a tuple

// "[op] What is required. What was received." from any printable parts.
template <typename... Parts>
std::string message(std::string_view op, const Parts&... parts) {
  std::string out = "[" + std::string(op) + "] ";
  (append(out, parts), ...);
  return out;
}

// Throws ArgumentError with the message unless `holds`.
template <typename... Parts>
void require(bool holds, const char* op, const Parts&... parts) {
  if (!holds) {
    throw ArgumentError(message(op, parts...));
  }
}

// The stream to run on: a CPU stream, or a GPU stream whose device this build can drive. Throws for any other: nothing
// falls back silently.
mx::Stream kernel_stream(const char* op, mx::StreamOrDevice s);

// The stream of an operation without GPU kernels: the CPU's, unless one is named. Throws for a GPU stream.
mx::Stream cpu_stream(const char* op, mx::StreamOrDevice s);

// Whether GPU kernels run the operations of this stream: eval_cpu hands over to eval_gpu where a simulator does.
bool runs_gpu_kernels(mx::Stream s);

// Runs the plan of an operation on a stream that runs GPU kernels.
void run(const gpu::Plan& plan, const std::vector<mx::array>& inputs, const std::vector<mx::array>& outputs,
         mx::Stream s);

// The positions of the rows to search, the third input of a search of some rows.
std::optional<mx::array> rows_of(const std::vector<mx::array>& inputs);

// The floating dtype that MLX promotes the arrays to (integers and booleans count as float32). Throws TypeError for
// complex64 and float64.
mx::Dtype floating_result_type(const char* op, const std::vector<mx::array>& arrays);

void require_matrix(const char* op, const char* name, const mx::array& a);

// The batch dimensions of the operands (all but the last two) broadcast together, followed by `tail`. Throws
// std::invalid_argument in the house form where they do not broadcast.
//
// Operations broadcast here and in matrix_view, not with a graph node: MLX's node for it keeps the shape it was traced
// with, which would break compile(shapeless=True).
mx::Shape broadcast_batch(const char* op, const mx::array& a, const mx::array& b,
                          std::initializer_list<mx::ShapeElem> tail);

// The number of matrices in an array of this shape.
int64_t batch_size(const mx::Shape& shape);

// An array's strides, in elements, along the batch dimensions of a result of shape `out` to which it broadcasts: 0
// where it is repeated.
std::vector<int64_t> batch_strides(const mx::array& a, const mx::Shape& out);

// How a kernel sees the last two dimensions of an evaluated array that belong to matrix `batch` of a result of shape
// `out`, to whose batch dimensions the array broadcasts.
cpu::Matrix matrix_view(const mx::array& a, const mx::Shape& out, int64_t batch);
cpu::Float float_type(const mx::array& a);

// The adjoint of that broadcast: sums `g` over the batch dimensions that `input` lacks or has once.
mx::array sum_to_batch_of(const mx::array& g, const mx::array& input, mx::Stream s);

// For the vmap of an operation on matrices that broadcasts batch dimensions: moves every mapped axis to the front and
// pads behind it so that batch dimensions line up. The operation's result is then mapped along axis 0.
std::vector<mx::array> map_to_front(const std::vector<mx::array>& inputs, const std::vector<int>& axes, mx::Stream s);

// Allocates an output. Scheduling runs later: what must outlive this call is captured by the task.
void allocate(mx::array& out);

// Allocates an output of an operation that GPU kernels run.
void allocate(mx::array& out, mx::Stream s);

// Runs f on the CPU stream, after what was scheduled there before; or now (at_once.h).
template <typename F>
void schedule(mx::Stream s, F f);

}  // namespace metalfaiss::ops

#include "mlx/backend/cpu/encoder.h"
#include "ops/at_once.h"

namespace metalfaiss::ops {

template <typename F>
void schedule(mx::Stream s, F f) {
  if (running_at_once()) {
    f();
  } else {
    mx::cpu::get_command_encoder(s).dispatch(std::move(f));
  }
}

}  // namespace metalfaiss::ops
