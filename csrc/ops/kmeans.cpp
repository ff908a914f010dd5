#include "ops/kmeans.h"

#include <algorithm>
#include <memory>

#include "cpu/kmeans.h"

namespace metalfaiss::ops {

namespace {

// A primitive of a CPU stream without derivatives.
class OnCpu : public mx::Primitive {
 public:
  using Primitive::Primitive;

  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    throw std::runtime_error(message(name(), "The stream must be a CPU stream. Received a GPU stream."));
  }

  bool is_equivalent(const Primitive&) const override { return true; }
};

class KmeansAssign : public OnCpu {
 public:
  using OnCpu::OnCpu;

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    for (mx::array& out : outputs) {
      allocate(out);
    }
    schedule(stream(), [in = inputs, distances = outputs[0], ids = outputs[1], measured = outputs[2]]() mutable {
      cpu::kmeans_assign({in[0].data<float>(), in[1].data<float>(), in[0].shape(0), in[1].shape(0), in[0].shape(1),
                          distances.data<float>(), ids.data<int64_t>(), measured.data<int64_t>()});
    });
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    return {{inputs[0].shape(0)}, {inputs[0].shape(0)}, {1}};
  }

  const char* name() const override { return "kmeans_assign"; }
};

class KmeansMeans : public OnCpu {
 public:
  KmeansMeans(mx::Stream s, int k) : OnCpu(s), k_(k) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    allocate(outputs[0]);
    allocate(outputs[1]);
    schedule(stream(), [in = inputs, means = outputs[0], totals = outputs[1], k = k_]() mutable {
      int64_t n = in[0].shape(0), d = in[0].shape(1);
      auto workspace = std::make_unique_for_overwrite<int64_t[]>(cpu::kmeans_means_workspace(n, k, d) / 8 + 1);
      cpu::kmeans_means({in[0].data<float>(), in[1].data<int64_t>(), in.size() > 2 ? in[2].data<float>() : nullptr, n,
                         k, d, workspace.get(), means.data<float>(), totals.data<float>()});
    });
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    return {{k_, inputs[0].shape(1)}, {k_}};
  }

  const char* name() const override { return "kmeans_means"; }

  bool is_equivalent(const Primitive& other) const override { return k_ == static_cast<const KmeansMeans&>(other).k_; }

 private:
  int k_;
};

mx::array contiguous_as(const mx::array& x, mx::Dtype type, mx::Stream s) {
  return mx::contiguous(mx::astype(x, type, s), false, s);
}

void require_shape(const char* op, const char* name, const mx::array& x, const mx::Shape& shape) {
  require(x.shape() == shape, op, name, " must have shape ", shape, ". Received ", x.shape(), ".");
}

void require_rows(const char* op, const char* name, const mx::array& x) {
  require(x.ndim() == 2 && x.shape(1) > 0, op, name, " must be a matrix with columns. Received ", x.shape(), ".");
}

}  // namespace

std::tuple<mx::array, mx::array, mx::array> kmeans_assign(const mx::array& x, const mx::array& centroids,
                                                          mx::StreamOrDevice s) {
  constexpr const char* op = "kmeans_assign";
  mx::Stream stream = cpu_stream(op, s);
  require_rows(op, "x", x);
  require_rows(op, "centroids", centroids);
  require_shape(op, "centroids", centroids, {centroids.shape(0), x.shape(1)});
  require(centroids.shape(0) > 0, op, "centroids must have rows. Received ", centroids.shape(), ".");
  std::vector<mx::array> inputs{contiguous_as(x, mx::float32, stream), contiguous_as(centroids, mx::float32, stream)};
  auto primitive = std::make_shared<KmeansAssign>(stream);
  auto out =
      mx::array::make_arrays(primitive->output_shapes(inputs), {mx::float32, mx::int64, mx::int64}, primitive, inputs);
  return {out[0], out[1], out[2]};
}

void kmeans_nearest(const float* x, int64_t n, const mx::array& centroids, int64_t* ids) {
  constexpr const char* op = "kmeans_nearest";
  require_rows(op, "centroids", centroids);
  require(centroids.shape(0) > 0, op, "centroids must have rows. Received ", centroids.shape(), ".");
  require(centroids.dtype() == mx::float32 && centroids.is_available() && centroids.flags().row_contiguous, op,
          "centroids must be float32, evaluated and row-contiguous. Received another array.");
  cpu::kmeans_assign({x, centroids.data<float>(), n, centroids.shape(0), centroids.shape(1), nullptr, ids, nullptr});
}

std::pair<mx::array, mx::array> kmeans_means(const mx::array& x, const mx::array& ids,
                                             const std::optional<mx::array>& weights, int k, mx::StreamOrDevice s) {
  constexpr const char* op = "kmeans_means";
  mx::Stream stream = cpu_stream(op, s);
  require_rows(op, "x", x);
  require_shape(op, "ids", ids, {x.shape(0)});
  require(k >= 1, op, "k must be at least 1. Received ", k, ".");
  std::vector<mx::array> inputs{contiguous_as(x, mx::float32, stream), contiguous_as(ids, mx::int64, stream)};
  if (weights) {
    require_shape(op, "weights", *weights, {x.shape(0)});
    inputs.push_back(contiguous_as(*weights, mx::float32, stream));
  }
  auto primitive = std::make_shared<KmeansMeans>(stream, k);
  auto out = mx::array::make_arrays(primitive->output_shapes(inputs), {mx::float32, mx::float32}, primitive, inputs);
  return {out[0], out[1]};
}

}  // namespace metalfaiss::ops
