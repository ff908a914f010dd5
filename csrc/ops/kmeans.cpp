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

// Inputs: x, centroids, and maybe centroids, ids, bounds and step of before. Outputs: distances, ids, how many were
// measured, and where `keep_` is set, bounds and step.
class KmeansAssign : public OnCpu {
 public:
  KmeansAssign(mx::Stream s, bool keep) : OnCpu(s), keep_(keep) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    const bool known = inputs.size() > 2;
    for (size_t i = 0; i < outputs.size(); i++) {
      if (i >= 3 && known && inputs[i + 1].is_donatable()) {
        outputs[i].copy_shared_buffer(inputs[i + 1]);
      } else {
        allocate(outputs[i]);
      }
    }
    schedule(stream(), [in = inputs, out = outputs, keep = keep_, known]() mutable {
      cpu::KmeansBounds bounds{};
      if (keep) {
        bounds = {out[3].data<uint8_t>(), out[4].data<float>(), nullptr, nullptr};
      }
      if (known) {
        bounds.before = in[2].data<float>();
        bounds.ids = in[3].data<int64_t>();
        for (int i : {3, 4}) {
          if (out[i].data<char>() != in[i + 1].data<char>()) {
            std::copy_n(in[i + 1].data<char>(), in[i + 1].nbytes(), out[i].data<char>());
          }
        }
      }
      cpu::kmeans_assign({in[0].data<float>(), in[1].data<float>(), in[0].shape(0), in[1].shape(0), in[0].shape(1),
                          out[0].data<float>(), out[1].data<int64_t>(), out[2].data<int64_t>(), bounds});
    });
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    const int n = inputs[0].shape(0);
    std::vector<mx::Shape> shapes{{n}, {n}, {1}};
    if (keep_) {
      shapes.push_back({n, static_cast<int>(cpu::kmeans_bounds_width(inputs[1].shape(0)))});
      shapes.push_back({1});
    }
    return shapes;
  }

  const char* name() const override { return "kmeans_assign"; }

  bool is_equivalent(const Primitive& other) const override {
    return keep_ == static_cast<const KmeansAssign&>(other).keep_;
  }

 private:
  bool keep_;
};

// Inputs: x, ids, and maybe weights or the ids and sums of before.
class KmeansMeans : public OnCpu {
 public:
  KmeansMeans(mx::Stream s, int k) : OnCpu(s), k_(k) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    for (mx::array& out : outputs) {
      allocate(out);
    }
    schedule(stream(), [in = inputs, means = outputs[0], totals = outputs[1], sums = outputs[2], k = k_]() mutable {
      int64_t n = in[0].shape(0), d = in[0].shape(1);
      auto workspace = std::make_unique_for_overwrite<int64_t[]>(cpu::kmeans_means_workspace(n, k, d) / 8 + 1);
      const bool weighted = in.size() == 3, known = in.size() == 4;
      cpu::kmeans_means({in[0].data<float>(), in[1].data<int64_t>(), weighted ? in[2].data<float>() : nullptr,
                         known ? in[2].data<int64_t>() : nullptr, known ? in[3].data<double>() : nullptr, n, k, d,
                         workspace.get(), sums.data<double>(), means.data<float>(), totals.data<float>()});
    });
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    int d = inputs[0].shape(1);
    return {{k_, d}, {k_}, {k_, static_cast<int>(cpu::kmeans_sums_width(d))}};
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

std::vector<mx::array> kmeans_assign(const mx::array& x, const mx::array& centroids,
                                     const std::optional<KmeansBefore>& before, bool keep, mx::StreamOrDevice s) {
  constexpr const char* op = "kmeans_assign";
  mx::Stream stream = cpu_stream(op, s);
  require_rows(op, "x", x);
  require_rows(op, "centroids", centroids);
  require_shape(op, "centroids", centroids, {centroids.shape(0), x.shape(1)});
  require(centroids.shape(0) > 0, op, "centroids must have rows. Received ", centroids.shape(), ".");
  std::vector<mx::array> inputs{contiguous_as(x, mx::float32, stream), contiguous_as(centroids, mx::float32, stream)};
  auto primitive = std::make_shared<KmeansAssign>(stream, keep);
  const std::vector<mx::Shape> shapes = primitive->output_shapes(inputs);
  if (before) {
    const auto& [old, ids, bounds, step] = *before;
    require(keep, op, "before needs keep. Received keep=false.");
    require_shape(op, "the centroids of before", old, centroids.shape());
    require_shape(op, "the ids of before", ids, {x.shape(0)});
    require_shape(op, "the bounds of before", bounds, shapes[3]);
    require_shape(op, "the step of before", step, {1});
    inputs.push_back(contiguous_as(old, mx::float32, stream));
    inputs.push_back(contiguous_as(ids, mx::int64, stream));
    inputs.push_back(contiguous_as(bounds, mx::uint8, stream));
    inputs.push_back(contiguous_as(step, mx::float32, stream));
  }
  std::vector<mx::Dtype> types{mx::float32, mx::int64, mx::int64, mx::uint8, mx::float32};
  types.resize(shapes.size(), mx::float32);
  return mx::array::make_arrays(shapes, types, primitive, inputs);
}

void kmeans_nearest(const float* x, int64_t n, const mx::array& centroids, int64_t* ids) {
  constexpr const char* op = "kmeans_nearest";
  require_rows(op, "centroids", centroids);
  require(centroids.shape(0) > 0, op, "centroids must have rows. Received ", centroids.shape(), ".");
  require(centroids.dtype() == mx::float32 && centroids.is_available() && centroids.flags().row_contiguous, op,
          "centroids must be float32, evaluated and row-contiguous. Received another array.");
  cpu::kmeans_assign(
      {x, centroids.data<float>(), n, centroids.shape(0), centroids.shape(1), nullptr, ids, nullptr, {}});
}

std::tuple<mx::array, mx::array, mx::array> kmeans_means(const mx::array& x, const mx::array& ids,
                                                         const std::optional<mx::array>& weights, int k,
                                                         const std::optional<std::pair<mx::array, mx::array>>& before,
                                                         mx::StreamOrDevice s) {
  constexpr const char* op = "kmeans_means";
  mx::Stream stream = cpu_stream(op, s);
  require_rows(op, "x", x);
  require_shape(op, "ids", ids, {x.shape(0)});
  require(k >= 1, op, "k must be at least 1. Received ", k, ".");
  require(!weights || !before, op, "weights or before must be None. Received both.");
  std::vector<mx::array> inputs{contiguous_as(x, mx::float32, stream), contiguous_as(ids, mx::int64, stream)};
  if (weights) {
    require_shape(op, "weights", *weights, {x.shape(0)});
    inputs.push_back(contiguous_as(*weights, mx::float32, stream));
  }
  if (before) {
    const auto& [ids_before, sums_before] = *before;
    require_shape(op, "the ids of before", ids_before, {x.shape(0)});
    require_shape(op, "the sums of before", sums_before, {k, static_cast<int>(cpu::kmeans_sums_width(x.shape(1)))});
    inputs.push_back(contiguous_as(ids_before, mx::int64, stream));
    inputs.push_back(contiguous_as(sums_before, mx::float64, stream));
  }
  auto primitive = std::make_shared<KmeansMeans>(stream, k);
  auto out = mx::array::make_arrays(primitive->output_shapes(inputs), {mx::float32, mx::float32, mx::float64},
                                    primitive, inputs);
  return {out[0], out[1], out[2]};
}

}  // namespace metalfaiss::ops
