#include "ops/extra_metrics.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>

#include "bindings/numpy_arrays.h"

namespace metalfaiss {

void bind_range_search(nb::module_& m) {
  m.def(
      "range_search",
      [](const mlx::core::array& xq, const mlx::core::array& xb, float radius, int metric, float metric_arg,
         const std::optional<mlx::core::array>& rows) {
        ops::RangeResults found;
        {
          nb::gil_scoped_release release;
          const char* op = "range_search";
          found = metric > 1 ? ops::extra_range_search(xq, xb, radius, ops::extra_metric(op, metric, metric_arg), rows)
                             : ops::range_search(xq, xb, radius, ops::metric_from_int(op, metric), rows);
        }
        return std::make_tuple(numpy_array(std::move(found.limits)), numpy_array(std::move(found.distances)),
                               numpy_array(std::move(found.ids)));
      },
      "xq"_a, "xb"_a, "radius"_a, "metric"_a = 1, "metric_arg"_a = 0.0f, nb::kw_only(), "rows"_a = nb::none(),
      "Rows of xb (nb, d) nearer than radius to the rows of xq (nq, d), float32, both evaluated: NumPy arrays of "
      "limits "
      "(nq + 1,), distances and ids. See metalfaiss.indexes.flat.IndexFlat.range_search.");
}

}  // namespace metalfaiss
