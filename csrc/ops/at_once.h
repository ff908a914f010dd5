// Evaluation on the calling thread.
//
// mx::eval hands work to the thread of a stream and waits for it: 50 to 100 microseconds, and a thread for each one
// that evaluates. NumPy results are wanted at once: what this library's primitives make of evaluated arrays is computed
// by whoever asks for it. The primitives are the same, and so are graphs, checks and errors.
#pragma once

#include <optional>
#include <vector>

#include "cpu/parallel.h"
#include "mlx/array.h"
#include "mlx/primitives.h"

namespace metalfaiss::ops {

namespace mx = mlx::core;

// A primitive whose eval_cpu does nothing but `allocate` its outputs and `schedule` one task.
class AtOnce : public mx::Primitive {
 public:
  using Primitive::Primitive;
};

// What is to be computed, in order, if all of it can be: primitives AtOnce on the calling thread's default CPU stream,
// and evaluated arrays. Else, or where there is nothing to do, it is empty. Reads MLX's notes, which Python's lock
// guards.
std::vector<mx::array> computable_at_once(const std::vector<mx::array>& wanted);

void compute_at_once(std::vector<mx::array>& nodes);

// While one lives, this thread computes something for `queries` queries. Of several threads that do so for a few, every
// one uses its share of the threads of parallel_for: together they keep all busy, and none waits for another.
class Sharing {
 public:
  explicit Sharing(int64_t queries);
  ~Sharing();
  Sharing(const Sharing&) = delete;
  Sharing& operator=(const Sharing&) = delete;

 private:
  std::optional<cpu::ThreadShare> share_;
};

// Whether `schedule` shall run its task instead.
bool running_at_once();

// `x` itself where its rows are known to be contiguous, so that there is one node less.
mx::array row_contiguous(const mx::array& x, mx::Stream s);

}  // namespace metalfaiss::ops
