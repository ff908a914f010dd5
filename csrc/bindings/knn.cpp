#include "ops/knn.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>

#include "bindings/bindings.h"
#include "ops/extra_metrics.h"

namespace metalfaiss {

void bind_knn(nb::module_& m) {
  m.def(
      "knn",
      [](const mlx::core::array& xq, const mlx::core::array& xb, int64_t k, int metric, float metric_arg,
         const std::optional<mlx::core::array>& rows, mlx::core::StreamOrDevice s) {
        if (metric > 1) {
          return ops::extra_knn(xq, xb, k, ops::extra_metric("knn", metric, metric_arg), rows, s);
        }
        return ops::knn(xq, xb, k, ops::metric_from_int("knn", metric), s, rows);
      },
      "xq"_a, "xb"_a, "k"_a, "metric"_a = 1, "metric_arg"_a = 0.0f, nb::kw_only(), "rows"_a = nb::none(),
      "stream"_a = nb::none(),
      R"(Exact search: the ``k`` nearest rows of ``xb`` for every row of ``xq``.

Args:
    xq (array): queries, shape ``(..., nq, d)``; used as float32.
    xb (array): database, shape ``(..., nb, d)``; float32, float16 or bfloat16, any strides, read where it lies. Batch
      dimensions broadcast with those of ``xq``.
    k (int): how many results per query, at least 1.
    metric (int): ``METRIC_L2`` (1, squared distances, ascending) or ``METRIC_INNER_PRODUCT`` (0, descending), or another of
      FAISS's numbers: then inputs have 2 dimensions, arithmetic is float32, and there are no derivatives.
    metric_arg (float): the power of ``METRIC_Lp``.
    rows (array, optional): int64, shape ``(n,)``, ascending: the rows of ``xb``, shape ``(nb, d)``, that are searched.
      Rows outside of it are not refused.
    stream (Stream or Device, optional): where to run.

Returns:
    tuple(array, array): distances, float32, and ids, int64, both of shape ``(..., nq, k)``. Equal distances are ordered
    by id. Missing results have id -1 and the largest (L2) or lowest (inner product) finite float32.

Raises:
    ValueError: shapes do not match, ``k`` < 1, an unknown metric, or the stream's device has no kernel.
    TypeError: an input is complex or float64.
)");
  const gpu::KnnLimits l;
  m.def(
      "set_knn_limits",
      [](int64_t few_queries, int64_t few_products, int64_t threadgroups, int64_t slab_rows, int64_t tile_queries,
         int64_t scratch, double product_error, int64_t scan_columns, int64_t scan_products, int64_t scan_simdgroups,
         int64_t scan_capacity) {
        ops::set_knn_limits({few_queries, few_products, threadgroups, slab_rows, tile_queries, scratch, product_error,
                             scan_columns, scan_products, scan_simdgroups, scan_capacity});
      },
      nb::kw_only(), "few_queries"_a = l.few_queries, "few_products"_a = l.few_products,
      "threadgroups"_a = l.threadgroups, "slab_rows"_a = l.slab_rows, "tile_queries"_a = l.tile_queries,
      "scratch"_a = l.scratch, "product_error"_a = l.product_error, "scan_columns"_a = l.scan_columns,
      "scan_products"_a = l.scan_products, "scan_simdgroups"_a = l.scan_simdgroups, "scan_capacity"_a = l.scan_capacity,
      "For tests: how searches on a GPU are divided, so that small inputs reach every edge. Results do not depend on "
      "it. Without arguments, as usual.");
}

}  // namespace metalfaiss
