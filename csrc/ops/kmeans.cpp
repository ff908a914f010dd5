#include "ops/kmeans.h"

#include <algorithm>
#include <memory>

#include "cpu/huge_pages.h"

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

// Inputs: x, centroids. Outputs: distances, ids, how many were measured.
class KmeansAssign : public OnCpu {
 public:
  KmeansAssign(mx::Stream s, std::shared_ptr<KmeansMemory> memory) : OnCpu(s), memory_(std::move(memory)) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    for (mx::array& out : outputs) {
      allocate(out);
    }
    schedule(stream(), [in = inputs, out = outputs, memory = memory_]() mutable {
      cpu::KmeansAssignArgs args{in[0].data<float>(),    in[1].data<float>(),    in[0].shape(0),
                                 in[1].shape(0),         in[0].shape(1),         out[0].data<float>(),
                                 out[1].data<int64_t>(), out[2].data<int64_t>(), nullptr};
      memory ? memory->assign(args) : cpu::kmeans_assign(args);
    });
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    return {{inputs[0].shape(0)}, {inputs[0].shape(0)}, {1}};
  }

  const char* name() const override { return "kmeans_assign"; }

  bool is_equivalent(const Primitive& other) const override {
    return !memory_ && !static_cast<const KmeansAssign&>(other).memory_;
  }

 private:
  std::shared_ptr<KmeansMemory> memory_;
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

KmeansMemory::KmeansMemory(int64_t n, int64_t k, int64_t d, bool bounds)
    : n(n),
      k(k),
      d(d),
      codes_(new int8_t[n * cpu::kmeans_codes_width(d)]),
      bounds_(bounds ? new uint8_t[n * cpu::kmeans_bounds_width(k)] : nullptr),
      rounded_(n),
      center_(d),
      centroids_(k * d),
      ids_(n),
      memory_{codes_.get(), rounded_.data(), center_.data(), bounds_.get(), 1, centroids_.data(), ids_.data(), 0} {
  cpu::prefer_huge_pages(codes_.get(), n * cpu::kmeans_codes_width(d));
  cpu::prefer_huge_pages(bounds_.get(), bounds ? n * cpu::kmeans_bounds_width(k) : 0);
}

void KmeansMemory::forget() {
  std::lock_guard lock(mutex_);
  memory_.calls = 0;
}

std::pair<std::vector<uint8_t>, float> KmeansMemory::bounds() const {
  std::lock_guard lock(mutex_);
  const bool made = memory_.bounds && memory_.calls > 1;
  return {{memory_.bounds, memory_.bounds + (made ? n * cpu::kmeans_bounds_width(k) : 0)}, memory_.step};
}

void KmeansMemory::assign(cpu::KmeansAssignArgs args) {
  std::lock_guard lock(mutex_);
  args.memory = &memory_;
  cpu::kmeans_assign(args);
}

std::tuple<mx::array, mx::array, mx::array> kmeans_assign(const mx::array& x, const mx::array& centroids,
                                                          std::shared_ptr<KmeansMemory> memory, mx::StreamOrDevice s) {
  constexpr const char* op = "kmeans_assign";
  mx::Stream stream = cpu_stream(op, s);
  require_rows(op, "x", x);
  require_matrix(op, "centroids", centroids);
  require_shape(op, "centroids", centroids, {centroids.shape(0), x.shape(1)});
  require(centroids.shape(0) > 0, op, "centroids must have rows. Received ", centroids.shape(), ".");
  if (memory) {
    const mx::Shape made{static_cast<int>(memory->n), static_cast<int>(memory->d)};
    require_shape(op, "x of this memory", x, made);
    require_shape(op, "centroids of this memory", centroids, {static_cast<int>(memory->k), made[1]});
  }
  std::vector<mx::array> inputs{contiguous_as(x, mx::float32, stream), contiguous_as(centroids, mx::float32, stream)};
  auto primitive = std::make_shared<KmeansAssign>(stream, std::move(memory));
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
  cpu::kmeans_assign(
      {x, centroids.data<float>(), n, centroids.shape(0), centroids.shape(1), nullptr, ids, nullptr, nullptr});
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
