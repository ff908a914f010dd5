#include "ops/pairwise_distances.h"

#include "bindings/bindings.h"
#include "ops/extra_metrics.h"

namespace metalfaiss {

void bind_pairwise_distances(nb::module_& m) {
  m.def(
      "pairwise_distances",
      [](const mlx::core::array& xq, const mlx::core::array& xb, int metric, mlx::core::StreamOrDevice stream,
         float metric_arg) {
        if (metric > 1) {
          return ops::extra_pairwise(xq, xb, ops::extra_metric("pairwise_distances", metric, metric_arg), stream);
        }
        return ops::pairwise_distances(xq, xb, ops::metric_from_int("pairwise_distances", metric), stream);
      },
      "xq"_a, "xb"_a, "metric"_a, "stream"_a = nb::none(), "metric_arg"_a = 0.0f,
      "pairwise_distances of arrays: see metalfaiss.pairwise.pairwise_distances.");
}

}  // namespace metalfaiss
