// What an index asks about an array, and takes of it, before it keeps it.
#include <nanobind/ndarray.h>

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
      "lend",
      [](const nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>& x) {
        mx::Shape shape{static_cast<int>(x.shape(0)), static_cast<int>(x.shape(1))};
        return mx::array(const_cast<float*>(x.data()), shape, mx::float32, [](void*) {});
      },
      "x"_a,
      "The memory of a NumPy matrix as an array. The caller keeps both until all that was made of the array is "
      "computed: "
      "MLX writes results into arrays that nobody else holds.");
  m.def(
      "is_evaluated", [](const mx::array& x) { return !x.is_tracer() && x.is_available(); }, "x"_a,
      "Whether the array has its data: it is neither lazy nor traced, and any thread may read it.");
  m.def(
      "is_traced", [](const mx::array& x) { return x.is_tracer(); }, "x"_a,
      "Whether the array belongs to a running transformation (compile, grad, vmap).");
  m.def("in_tracing", &in_tracing, "Whether this thread is inside a transformation (compile, grad, vmap).");
}

}  // namespace metalfaiss
