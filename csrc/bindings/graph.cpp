// What an index asks about an array, and takes of it, before it keeps it.
#include "bindings/bindings.h"
#include "mlx/array.h"

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
  m.def("in_tracing", &in_tracing, "Whether this thread is inside a transformation (compile, grad, vmap).");
}

}  // namespace metalfaiss
