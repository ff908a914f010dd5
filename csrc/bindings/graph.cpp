// What an index asks about an array, and takes of it, before it keeps it.
#include <nanobind/stl/vector.h>

#include "bindings/bindings.h"
#include "mlx/array.h"
#include "ops/at_once.h"

namespace metalfaiss {

namespace {

namespace mx = mlx::core;

// MLX shows whether it is tracing only through an array's is_tracer().
bool in_tracing() {
  mx::array probe(0.0f);
  probe.set_tracer(true);
  return probe.is_tracer();
}

}  // namespace

void bind_graph(nb::module_& m) {
  m.def(
      "handle", [](const mx::array& x) { return x; }, "x"_a,
      "Another Python object for the array, without a copy: assignment to elements of one does not reach the other.");
  m.def(
      "is_evaluated", [](const mx::array& x) { return !x.is_tracer() && x.is_available(); }, "x"_a,
      "Whether the array has its data: it is neither lazy nor traced, and any thread may read it.");
  m.def(
      "is_traced", [](const mx::array& x) { return x.is_tracer(); }, "x"_a,
      "Whether the array belongs to a running transformation (compile, grad, vmap).");
  m.def(
      "compute_at_once",
      [](const std::vector<mx::array>& wanted) {
        std::vector<mx::array> nodes = ops::computable_at_once(wanted);
        if (!nodes.empty()) {
          nb::gil_scoped_release release;
          ops::compute_at_once(nodes);
        }
        return !nodes.empty();
      },
      "wanted"_a,
      "Computes lazy arrays on the calling thread, if operations of this library on its default CPU stream make them "
      "of "
      "evaluated arrays. Returns whether it did.");
  m.def("in_tracing", &in_tracing, "Whether this thread is inside a transformation (compile, grad, vmap).");
}

}  // namespace metalfaiss
