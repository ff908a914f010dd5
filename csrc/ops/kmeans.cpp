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
    allocate(outputs[1]);
    schedule(stream(), [in = inputs, codes = outputs[0], scales = outputs[1]]() mutable {
      const float* basis = in.size() > 2 ? in[2].data<float>() : nullptr;
      cpu::kmeans_sketch({in[0].data<float>(), in[1].data<float>(), basis, in[0].shape(0), in[0].shape(1),
                          in.back().shape(-1), codes.data<int16_t>(), scales.data<float>()});
    });
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    int n = inputs[0].shape(0);
    auto width = cpu::kmeans_sketch_width(inputs.back().shape(-1), inputs.size() > 2);
    return {{n, static_cast<int>(width)}, {n, 2}};
  }

  const char* name() const override { return "kmeans_sketch"; }
};

// Inputs: x, centroids, codes and scales of both, and maybe guesses.
class KmeansAssign : public OnCpu {
 public:
  KmeansAssign(mx::Stream s, int lead) : OnCpu(s), lead_(lead) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    for (mx::array& out : outputs) {
      allocate(out);
    }
    schedule(
        stream(), [in = inputs, distances = outputs[0], ids = outputs[1], counts = outputs[2], lead = lead_]() mutable {
          auto sketch = [&](int at) { return cpu::KmeansSketches{in[at].data<int16_t>(), in[at + 1].data<float>()}; };
          cpu::kmeans_assign({in[0].data<float>(), in[1].data<float>(), sketch(2), sketch(4),
                              in.size() > 6 ? in[6].data<int64_t>() : nullptr, in[0].shape(0), in[1].shape(0),
                              in[0].shape(1), in[2].shape(1), lead, distances.data<float>(), ids.data<int64_t>(),
                              counts.data<int64_t>()});
        });
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    return {{inputs[0].shape(0)}, {inputs[0].shape(0)}, {2}};
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

Sketch kmeans_sketch(const mx::array& x, const mx::array& mean, const std::optional<mx::array>& basis,
                     mx::StreamOrDevice s) {
  constexpr const char* op = "kmeans_sketch";
  mx::Stream stream = cpu_stream(op, s);
  require_rows(op, "x", x);
  require_shape(op, "mean", mean, {x.shape(1)});
  std::vector<mx::array> inputs{contiguous_as(x, mx::float32, stream), contiguous_as(mean, mx::float32, stream)};
  if (basis) {
    require_rows(op, "basis", *basis);
    require_shape(op, "basis", *basis, {x.shape(1), basis->shape(1)});
    inputs.push_back(contiguous_as(*basis, mx::float32, stream));
  }
  auto primitive = std::make_shared<KmeansSketch>(stream);
  auto out = mx::array::make_arrays(primitive->output_shapes(inputs), {mx::int16, mx::float32}, primitive, inputs);
  return {out[0], out[1]};
}

std::tuple<mx::array, mx::array, mx::array> kmeans_assign(const mx::array& x, const mx::array& centroids,
                                                          const Sketch& x_sketch, const Sketch& centroid_sketch,
                                                          const std::optional<mx::array>& guess, int lead,
                                                          mx::StreamOrDevice s) {
  constexpr const char* op = "kmeans_assign";
  mx::Stream stream = cpu_stream(op, s);
  require_rows(op, "x", x);
  require_rows(op, "centroids", centroids);
  require_shape(op, "centroids", centroids, {centroids.shape(0), x.shape(1)});
  require(centroids.shape(0) > 0, op, "centroids must have rows. Received ", centroids.shape(), ".");
  const auto& [codes, scales] = x_sketch;
  require(codes.ndim() == 2 && codes.shape(0) == x.shape(0) && codes.shape(1) > 0 && codes.shape(1) % 32 == 0, op,
          "x_sketch must be the sketch of x. Received ", codes.shape(), ".");
  require_shape(op, "the scales of x_sketch", scales, {x.shape(0), 2});
  require_shape(op, "centroid_sketch", centroid_sketch.first, {centroids.shape(0), codes.shape(1)});
  require_shape(op, "the scales of centroid_sketch", centroid_sketch.second, {centroids.shape(0), 2});
  require(lead >= 1, op, "lead must be at least 1. Received ", lead, ".");
  std::vector<mx::array> inputs{contiguous_as(x, mx::float32, stream), contiguous_as(centroids, mx::float32, stream)};
  for (const Sketch* sketch : {&x_sketch, &centroid_sketch}) {
    inputs.push_back(contiguous_as(sketch->first, mx::int16, stream));
    inputs.push_back(contiguous_as(sketch->second, mx::float32, stream));
  }
  if (guess) {
    require_shape(op, "guess", *guess, {x.shape(0)});
    inputs.push_back(contiguous_as(*guess, mx::int64, stream));
  }
  auto primitive = std::make_shared<KmeansAssign>(stream, lead);
  auto out =
      mx::array::make_arrays(primitive->output_shapes(inputs), {mx::float32, mx::int64, mx::int64}, primitive, inputs);
  return {out[0], out[1], out[2]};
}

void kmeans_nearest(const float* x, int64_t n, const mx::array& centroids, const mx::array& mean,
                    const std::optional<mx::array>& basis, int lead, int64_t* ids) {
  constexpr const char* op = "kmeans_nearest";
  constexpr int64_t kRows = 4096;  // at a time: they and their sketches stay in a cache
  for (const mx::array* a : {&centroids, &mean, basis ? &*basis : &mean}) {
    require(a->dtype() == mx::float32 && a->is_available() && a->flags().row_contiguous, op,
            "Arrays must be float32, evaluated and row-contiguous. Received another one.");
  }
  require_rows(op, "centroids", centroids);
  int d = centroids.shape(1), p = basis ? basis->shape(-1) : d, k = centroids.shape(0);
  require(k > 0, op, "centroids must have rows. Received ", centroids.shape(), ".");
  require_shape(op, "mean", mean, {d});
  if (basis) {
    require_rows(op, "basis", *basis);
    require_shape(op, "basis", *basis, {d, p});
  }
  require(lead >= 1, op, "lead must be at least 1. Received ", lead, ".");
  int64_t width = cpu::kmeans_sketch_width(p, basis.has_value()), rows = std::min(n, kRows);
  auto codes = std::make_unique_for_overwrite<int16_t[]>((k + rows) * width);
  auto scales = std::make_unique_for_overwrite<float[]>(2 * (k + rows));
  auto distances = std::make_unique_for_overwrite<float[]>(rows);
  const cpu::KmeansSketches short_centroids{codes.get(), scales.get()};
  const cpu::KmeansSketches sketches{codes.get() + k * width, scales.get() + 2 * k};
  auto sketch = [&](const float* from, int64_t count, int64_t at) {
    cpu::kmeans_sketch({from, mean.data<float>(), basis ? basis->data<float>() : nullptr, count, d, p,
                        codes.get() + at * width, scales.get() + 2 * at});
  };
  sketch(centroids.data<float>(), k, 0);
  for (int64_t first = 0; first < n; first += rows) {
    int64_t count = std::min(rows, n - first);
    sketch(x + first * d, count, k);
    cpu::kmeans_assign({x + first * d, centroids.data<float>(), sketches, short_centroids, nullptr, count, k, d, width,
                        lead, distances.get(), ids + first, nullptr});
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
