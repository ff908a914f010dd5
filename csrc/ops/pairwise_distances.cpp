#include "ops/pairwise_distances.h"

#include "cpu/pairwise_distances.h"
#include "gpu/plans/pairwise_distances.h"
#include "ops/gemm.h"
#include "ops/gpu_operands.h"

namespace metalfaiss::ops {

namespace {

constexpr const char* kPairwise = "pairwise_distances";

class PairwiseDistances : public AtOnce {
 public:
  PairwiseDistances(mx::Stream s, Metric metric) : AtOnce(s), metric_(metric) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    if (runs_gpu_kernels(stream())) {
      return eval_gpu(inputs, outputs);
    }
    mx::array& out = outputs[0];
    allocate(out);
    if (out.size() == 0) {
      return;
    }
    schedule(stream(), [q = inputs[0], b = inputs[1], out = out, metric = metric_]() mutable {
      int64_t size = int64_t{out.shape(-2)} * out.shape(-1);
      for (int64_t i = 0; i < batch_size(out.shape()); i++) {
        cpu::pairwise_distances({matrix_view(q, out.shape(), i), matrix_view(b, out.shape(), i),
                                 out.data<float>() + i * size, metric == Metric::l2});
      }
    });
  }

  void eval_gpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    const mx::array &q = inputs[0], &b = inputs[1];
    mx::array& out = outputs[0];
    allocate(out, stream());
    if (out.size() == 0) {
      return;
    }
    gpu::PairwiseDistances g{
        metal_type(q),        metal_type(b), q.shape(-2),   b.shape(-2),   q.shape(-1),
        q.strides(-2),        q.strides(-1), b.strides(-2), b.strides(-1), batch_of(q, b, out.shape()),
        metric_ == Metric::l2};
    run(gpu::plan_pairwise_distances(g), inputs, outputs, stream());
  }

  // d|q - b|^2 = 2 (q - b).(dq - db)
  std::vector<mx::array> jvp(const std::vector<mx::array>& primals, const std::vector<mx::array>& tangents,
                             const std::vector<int>& argnums) override {
    auto [q, b] = operands(primals);
    auto along = [&](int arg, const mx::array& tangent) {
      mx::array t = mx::astype(tangent, mx::float32, stream());
      mx::array mixed = arg == 0 ? product(t, b) : product(q, t);
      if (metric_ == Metric::inner_product) {
        return mixed;
      }
      mx::array own = mx::sum(mx::multiply(arg == 0 ? q : b, t, stream()), -1, true, stream());
      return twice(mx::subtract(arg == 0 ? own : transposed(own), mixed, stream()));
    };
    mx::array out = along(argnums[0], tangents[0]);
    if (argnums.size() > 1) {
      out = mx::add(out, along(argnums[1], tangents[1]), stream());
    }
    return {out};
  }

  // The gradient with respect to q_i is 2 sum_j g_ij (q_i - b_j), with two products in place of all differences.
  std::vector<mx::array> vjp(const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
                             const std::vector<int>& argnums, const std::vector<mx::array>&) override {
    auto [q, b] = operands(primals);
    const mx::array& g = cotangents[0];
    auto gradient = [&](int arg) {
      mx::array mixed = arg == 0 ? gemm_av(g, b, stream()) : gemm_at_b(g, q, stream());
      if (metric_ == Metric::inner_product) {
        return mixed;
      }
      mx::array weight = arg == 0 ? mx::sum(g, -1, true, stream()) : transposed(mx::sum(g, -2, true, stream()));
      return twice(mx::subtract(mx::multiply(weight, arg == 0 ? q : b, stream()), mixed, stream()));
    };
    std::vector<mx::array> out;
    for (int arg : argnums) {
      const mx::array& input = primals[arg];
      out.push_back(mx::astype(sum_to_batch_of(gradient(arg), input, stream()), input.dtype(), stream()));
    }
    return out;
  }

  std::pair<std::vector<mx::array>, std::vector<int>> vmap(const std::vector<mx::array>& inputs,
                                                           const std::vector<int>& axes) override {
    auto mapped = map_to_front(inputs, axes, stream());
    return {{pairwise_distances(mapped[0], mapped[1], metric_, stream())}, {0}};
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    const mx::array &q = inputs[0], &b = inputs[1];
    require(q.shape(-1) == b.shape(-1), kPairwise, "xb must have ", q.shape(-1), " columns to match xq ", q.shape(),
            ". Received ", b.shape(), ".");
    return {broadcast_batch(kPairwise, q, b, {q.shape(-2), b.shape(-2)})};
  }

  const char* name() const override { return kPairwise; }

  bool is_equivalent(const Primitive& other) const override {
    return metric_ == static_cast<const PairwiseDistances&>(other).metric_;
  }

 private:
  // The inputs in float32. L2 is the same from any origin: derivatives, which are differences of products, keep their
  // digits when it is the mean of b.
  std::pair<mx::array, mx::array> operands(const std::vector<mx::array>& primals) {
    mx::array q = mx::astype(primals[0], mx::float32, stream()), b = mx::astype(primals[1], mx::float32, stream());
    if (metric_ == Metric::inner_product) {
      return {q, b};
    }
    mx::array mean = mx::nan_to_num(mx::mean(mx::stop_gradient(b, stream()), -2, true, stream()), 0, 0.0f, 0.0f,
                                    stream());  // one bad row must not spoil all gradients
    return {mx::subtract(q, mean, stream()), mx::subtract(b, mean, stream())};
  }

  mx::array product(const mx::array& q, const mx::array& b) {
    return pairwise_distances(q, b, Metric::inner_product, stream());
  }

  mx::array transposed(const mx::array& x) { return mx::swapaxes(x, -1, -2, stream()); }
  mx::array twice(const mx::array& x) { return mx::add(x, x, stream()); }

  Metric metric_;
};

}  // namespace

mx::array pairwise_distances(const mx::array& xq, const mx::array& xb, Metric metric, mx::StreamOrDevice s) {
  mx::Stream stream = kernel_stream(kPairwise, s);
  require_matrix(kPairwise, "xq", xq);
  require_matrix(kPairwise, "xb", xb);
  std::vector<mx::array> inputs{mx::astype(xq, floating_result_type(kPairwise, {xq}), stream),
                                mx::astype(xb, floating_result_type(kPairwise, {xb}), stream)};
  auto primitive = std::make_shared<PairwiseDistances>(stream, metric);
  mx::Shape shape = primitive->output_shapes(inputs)[0];
  return mx::array(std::move(shape), mx::float32, std::move(primitive), std::move(inputs));
}

}  // namespace metalfaiss::ops
