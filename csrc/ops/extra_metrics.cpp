#include "ops/extra_metrics.h"

#include <limits>

#include "ops/range_results.h"

namespace metalfaiss::ops {

namespace {

cpu::Matrix picked(const mx::array& xb, const std::optional<mx::array>& rows) {
  cpu::Matrix m = matrix_view(xb, xb.shape(), 0);
  if (rows) {
    m.picked = rows->data<int64_t>();
    m.rows = rows->size();
  }
  return m;
}

// k = 0 stands for all distances.
class ExtraMetricSearch : public AtOnce {
 public:
  ExtraMetricSearch(mx::Stream s, Extra metric, int64_t k) : AtOnce(s), metric_(metric), k_(k) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    for (mx::array& out : outputs) {
      allocate(out);
    }
    schedule(
        stream(), [q = inputs[0], b = inputs[1], rows = rows_of(inputs), outputs, metric = metric_, k = k_]() mutable {
          cpu::ExtraMetricArgs args{
              metric.metric, metric.p, matrix_view(q, q.shape(), 0), picked(b, rows), nullptr, k, nullptr, nullptr, 0,
              nullptr};
          if (k) {
            args.distances = outputs[0].data<float>();
            args.ids = outputs[1].data<int64_t>();
          } else {
            args.all = outputs[0].data<float>();
          }
          cpu::extra_metrics(args);
        });
  }

  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    throw ArgumentError(message(name(), "The stream must be a CPU stream. Received a GPU stream."));
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    int nq = inputs[0].shape(0);
    if (k_) {
      mx::Shape shape{nq, static_cast<int>(k_)};
      return {shape, shape};
    }
    return {{nq, inputs[1].shape(0)}};
  }

  const char* name() const override { return "extra_metrics"; }

  bool is_equivalent(const Primitive& other) const override {
    const auto& o = static_cast<const ExtraMetricSearch&>(other);
    return k_ == o.k_ && metric_ == o.metric_;
  }

 private:
  Extra metric_;
  int64_t k_;
};

std::vector<mx::array> prepared(const char* op, const mx::array& xq, const mx::array& xb, mx::Stream s) {
  require(xq.ndim() == 2 && xb.ndim() == 2 && xq.shape(1) == xb.shape(1), op,
          "xq and xb must have shapes (nq, d) and (nb, d) for this metric. Received ", xq.shape(), " and ", xb.shape(),
          ".");
  floating_result_type(op, {xq});
  return {row_contiguous(mx::astype(xq, mx::float32, s), s), mx::astype(xb, floating_result_type(op, {xb}), s)};
}

}  // namespace

Extra extra_metric(const char* op, int metric, float p) {
  bool known = (metric >= 2 && metric <= 4) || (metric >= 20 && metric <= 25);
  require(known, op, "metric must be one of FAISS's numbers 0 to 4 and 20 to 25. Received ", metric, ".");
  return {static_cast<cpu::ExtraMetric>(metric), metric == 4 ? p : 0};
}

mx::array extra_pairwise(const mx::array& xq, const mx::array& xb, Extra metric, mx::StreamOrDevice s) {
  mx::Stream stream = cpu_stream("pairwise_distances", s);
  auto inputs = prepared("pairwise_distances", xq, xb, stream);
  auto primitive = std::make_shared<ExtraMetricSearch>(stream, metric, 0);
  return mx::array(primitive->output_shapes(inputs)[0], mx::float32, primitive, inputs);
}

std::pair<mx::array, mx::array> extra_knn(const mx::array& xq, const mx::array& xb, int64_t k, Extra metric,
                                          const std::optional<mx::array>& rows, mx::StreamOrDevice s) {
  mx::Stream stream = cpu_stream("knn", s);
  auto inputs = prepared("knn", xq, xb, stream);
  require(k >= 1 && k <= std::numeric_limits<mx::ShapeElem>::max(), "knn",
          "k must be at least 1 and less than 2^31. Received ", k, ".");
  if (rows) {
    require(rows->ndim() == 1 && rows->dtype() == mx::int64, "knn", "rows must be int64, of shape (n,).");
    inputs.push_back(row_contiguous(*rows, stream));
  }
  auto primitive = std::make_shared<ExtraMetricSearch>(stream, metric, k);
  auto out = mx::array::make_arrays(primitive->output_shapes(inputs), {mx::float32, mx::int64}, primitive, inputs);
  return {out[0], out[1]};
}

RangeResults extra_range_search(const mx::array& xq, const mx::array& xb, float radius, Extra metric,
                                const std::optional<mx::array>& rows) {
  RangeCollector collector;
  auto add = [&](int64_t block, const cpu::RangeHit* hits, int64_t n) { collector.add(block, hits, n); };
  cpu::FunctionRef<void(int64_t, const cpu::RangeHit*, int64_t)> emit(add);
  cpu::extra_metrics({metric.metric, metric.p, matrix_view(xq, xq.shape(), 0), picked(xb, rows), nullptr, 0, nullptr,
                      nullptr, radius, &emit});
  return collector.results(xq.shape(0));
}

}  // namespace metalfaiss::ops
