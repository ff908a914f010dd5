#include "ops/range_search.h"

#include "ops/range_results.h"

namespace metalfaiss::ops {

RangeResults range_search(const mx::array& xq, const mx::array& xb, float radius, Metric metric,
                          const std::optional<mx::array>& rows) {
  constexpr const char* kName = "range_search";
  require(xq.ndim() == 2 && xb.ndim() == 2 && xq.shape(1) == xb.shape(1), kName,
          "xq and xb must have shapes (nq, d) and (nb, d). Received ", xq.shape(), " and ", xb.shape(), ".");
  require(xq.dtype() == mx::float32 && xq.flags().row_contiguous, kName, "xq must be contiguous float32.");
  cpu::Matrix database = matrix_view(xb, xb.shape(), 0);
  if (rows) {
    require(rows->ndim() == 1 && rows->dtype() == mx::int64, kName,
            "rows must be int64, of shape (n,). Received shape ", rows->shape(), ".");
    database.picked = rows->data<int64_t>();
    database.rows = rows->size();
  }
  RangeCollector collector;
  auto emit = [&](int64_t block, const cpu::RangeHit* hits, int64_t n) { collector.add(block, hits, n); };
  cpu::range_search({matrix_view(xq, xq.shape(), 0), database, radius, metric == Metric::inner_product, emit});
  return collector.results(xq.shape(0));
}

}  // namespace metalfaiss::ops
