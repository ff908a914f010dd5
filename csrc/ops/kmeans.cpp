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

class KmeansSketch : public OnCpu {
 public:
  using OnCpu::OnCpu;

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    allocate(outputs[0]);
    schedule(stream(), [x = inputs[0], mean = inputs[1], basis = inputs[2], out = outputs[0]]() mutable {
      cpu::kmeans_sketch({x.data<float>(), mean.data<float>(), basis.data<float>(), x.shape(0), x.shape(1),
                          basis.shape(1), out.data<float>()});
    });
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    return {{inputs[0].shape(0), inputs[2].shape(1) + 2}};
  }

  const char* name() const override { return "kmeans_sketch"; }
};

class KmeansAssign : public OnCpu {
 public:
  KmeansAssign(mx::Stream s, int lead) : OnCpu(s), lead_(lead) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    allocate(outputs[0]);
    allocate(outputs[1]);
    schedule(stream(), [in = inputs, distances = outputs[0], ids = outputs[1], lead = lead_]() mutable {
      cpu::kmeans_assign({in[0].data<float>(), in[1].data<float>(), in[2].data<float>(), in[3].data<float>(),
                          in.size() > 4 ? in[4].data<int64_t>() : nullptr, in[0].shape(0), in[1].shape(0),
                          in[0].shape(1), in[2].shape(1) - 2, lead, distances.data<float>(), ids.data<int64_t>()});
    });
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    return {{inputs[0].shape(0)}, {inputs[0].shape(0)}};
  }

  const char* name() const override { return "kmeans_assign"; }

  bool is_equivalent(const Primitive& other) const override {
    return lead_ == static_cast<const KmeansAssign&>(other).lead_;
  }

 private:
  int lead_;
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

mx::array kmeans_sketch(const mx::array& x, const mx::array& mean, const mx::array& basis, mx::StreamOrDevice s) {
  constexpr const char* op = "kmeans_sketch";
  mx::Stream stream = cpu_stream(op, s);
  require_rows(op, "x", x);
  require_rows(op, "basis", basis);
  require_shape(op, "mean", mean, {x.shape(1)});
  require_shape(op, "basis", basis, {x.shape(1), basis.shape(1)});
  std::vector<mx::array> inputs;
  for (const mx::array* a : {&x, &mean, &basis}) {
    inputs.push_back(contiguous_as(*a, mx::float32, stream));
  }
  auto primitive = std::make_shared<KmeansSketch>(stream);
  return mx::array(primitive->output_shapes(inputs)[0], mx::float32, primitive, inputs);
}

std::pair<mx::array, mx::array> kmeans_assign(const mx::array& x, const mx::array& centroids, const mx::array& x_sketch,
                                              const mx::array& centroid_sketch, const std::optional<mx::array>& guess,
                                              int lead, mx::StreamOrDevice s) {
  constexpr const char* op = "kmeans_assign";
  mx::Stream stream = cpu_stream(op, s);
  require_rows(op, "x", x);
  require_rows(op, "centroids", centroids);
  require_shape(op, "centroids", centroids, {centroids.shape(0), x.shape(1)});
  require(centroids.shape(0) > 0, op, "centroids must have rows. Received ", centroids.shape(), ".");
  require(x_sketch.ndim() == 2 && x_sketch.shape(0) == x.shape(0) && x_sketch.shape(1) >= 3, op,
          "x_sketch must be the sketch of x. Received ", x_sketch.shape(), ".");
  require_shape(op, "centroid_sketch", centroid_sketch, {centroids.shape(0), x_sketch.shape(1)});
  require(lead >= 1 && lead <= x_sketch.shape(1) - 2, op, "lead must be from 1 to ", x_sketch.shape(1) - 2,
          ". Received ", lead, ".");
  std::vector<mx::array> inputs;
  for (const mx::array* a : {&x, &centroids, &x_sketch, &centroid_sketch}) {
    inputs.push_back(contiguous_as(*a, mx::float32, stream));
  }
  if (guess) {
    require_shape(op, "guess", *guess, {x.shape(0)});
    inputs.push_back(contiguous_as(*guess, mx::int64, stream));
  }
  auto primitive = std::make_shared<KmeansAssign>(stream, lead);
  auto out = mx::array::make_arrays(primitive->output_shapes(inputs), {mx::float32, mx::int64}, primitive, inputs);
  return {out[0], out[1]};
}

void kmeans_nearest(const float* x, int64_t n, const mx::array& centroids, const mx::array& mean,
                    const mx::array& basis, int lead, int64_t* ids) {
  constexpr const char* op = "kmeans_nearest";
  constexpr int64_t kRows = 16384;  // at a time: their sketches stay in a cache
  for (const mx::array* a : {&centroids, &mean, &basis}) {
    require(a->dtype() == mx::float32 && a->is_available() && a->flags().row_contiguous, op,
            "Arrays must be float32, evaluated and row-contiguous. Received another one.");
  }
  require_rows(op, "centroids", centroids);
  require_rows(op, "basis", basis);
  int d = centroids.shape(1), p = basis.shape(1), k = centroids.shape(0);
  require(k > 0, op, "centroids must have rows. Received ", centroids.shape(), ".");
  require_shape(op, "mean", mean, {d});
  require_shape(op, "basis", basis, {d, p});
  require(lead >= 1 && lead <= p, op, "lead must be from 1 to ", p, ". Received ", lead, ".");
  auto short_centroids = std::make_unique_for_overwrite<float[]>(static_cast<int64_t>(k) * (p + 2));
  auto sketches = std::make_unique_for_overwrite<float[]>(std::min(n, kRows) * (p + 2));
  auto distances = std::make_unique_for_overwrite<float[]>(std::min(n, kRows));
  auto sketch = [&](const float* from, int64_t rows, float* out) {
    cpu::kmeans_sketch({from, mean.data<float>(), basis.data<float>(), rows, d, p, out});
  };
  sketch(centroids.data<float>(), k, short_centroids.get());
  for (int64_t first = 0; first < n; first += kRows) {
    int64_t rows = std::min(kRows, n - first);
    sketch(x + first * d, rows, sketches.get());
    cpu::kmeans_assign({x + first * d, centroids.data<float>(), sketches.get(), short_centroids.get(), nullptr, rows, k,
                        d, p, lead, distances.get(), ids + first});
  }
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
