#include "ops/pairwise_distances.h"

#include "bindings/bindings.h"

namespace metalfaiss {

void bind_pairwise_distances(nb::module_& m) {
  m.def(
      "pairwise_distances",
      [](const mlx::core::array& xq, const mlx::core::array& xb, int metric, mlx::core::StreamOrDevice stream) {
        return ops::pairwise_distances(xq, xb, ops::metric_from_int("pairwise_distances", metric), stream);
      },
      "xq"_a, "xb"_a, "metric"_a, "stream"_a = nb::none(),
      "pairwise_distances of arrays: see metalfaiss.pairwise.pairwise_distances.");
}

}  // namespace metalfaiss
