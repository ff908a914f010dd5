#include "ops/select_k.h"

#include "cpu/select_k.h"
#include "gpu/plans/select_k.h"
#include "select_k_params.h"

namespace metalfaiss::ops {

namespace {

constexpr const char* kSelectK = "select_k";

class SelectK : public AtOnce {
 public:
  SelectK(mx::Stream s, int k, bool largest) : AtOnce(s), k_(k), largest_(largest) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    if (runs_gpu_kernels(stream())) {
      return eval_gpu(inputs, outputs);
    }
    mx::array &values = outputs[0], &indices = outputs[1];
    allocate(values);
    allocate(indices);
    if (values.size() == 0) {
      return;
    }
    schedule(stream(), [x = inputs[0], values, indices, k = k_, largest = largest_]() mutable {
      cpu::select_k({.x = x.data<void>(),
                     .type = float_type(x),
                     .rows = static_cast<int64_t>(values.size()) / k,
                     .n = x.shape(-1),
                     .k = k,
                     .stride = x.strides(-1),
                     .batch_dims = static_cast<int>(x.ndim()) - 1,
                     .batch_shape = x.shape().data(),
                     .batch_strides = x.strides().data(),
                     .largest = largest,
                     .values = values.data<void>(),
                     .indices = indices.data<int64_t>()});
    });
  }

  void eval_gpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    const mx::array& x = inputs[0];
    allocate(outputs[0], stream());
    allocate(outputs[1], stream());
    if (outputs[0].size() == 0) {
      return;
    }
    gpu::Plan plan = gpu::select_k_plan({.shape = {x.shape().begin(), x.shape().end()},
                                         .strides = {x.strides().begin(), x.strides().end()},
                                         .element_bytes = static_cast<int>(x.itemsize()),
                                         .half = x.dtype() == mx::float16,
                                         .misaligned = x.offset() & 15,
                                         .k = k_,
                                         .largest = largest_});
    run(plan, inputs, outputs, stream());
  }

  // The indices are locally constant: their tangents and cotangents are zero.
  std::vector<mx::array> jvp(const std::vector<mx::array>& primals, const std::vector<mx::array>& tangents,
                             const std::vector<int>&) override {
    mx::array indices = mx::stop_gradient(select_k(primals[0], k_, largest_, stream()).second, stream());
    return {mx::take_along_axis(tangents[0], indices, -1, stream()), mx::subtract(indices, indices, stream())};
  }

  std::vector<mx::array> vjp(const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
                             const std::vector<int>&, const std::vector<mx::array>& outputs) override {
    const mx::array& x = primals[0];
    // Zeros of the shape that x has when this runs: mx::zeros would keep the shape of the trace.
    mx::array zeros = mx::astype(mx::less(x, x, stream()), x.dtype(), stream());
    mx::array indices = mx::stop_gradient(outputs[1], stream());
    return {mx::put_along_axis(zeros, indices, cotangents[0], -1, stream())};
  }

  std::pair<std::vector<mx::array>, std::vector<int>> vmap(const std::vector<mx::array>& inputs,
                                                           const std::vector<int>& axes) override {
    auto [values, indices] = select_k(map_to_front(inputs, axes, stream())[0], k_, largest_, stream());
    return {{values, indices}, {0, 0}};
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    mx::Shape shape = inputs[0].shape();
    require(k_ <= shape.back(), kSelectK, "k must be between 0 and the ", shape.back(), " values of a row of x ", shape,
            ". Received ", k_, ".");
    shape.back() = k_;
    return {shape, shape};
  }

  const char* name() const override { return kSelectK; }

  bool is_equivalent(const Primitive& other) const override {
    const auto& o = static_cast<const SelectK&>(other);
    return k_ == o.k_ && largest_ == o.largest_;
  }

 private:
  int k_;
  bool largest_;
};

}  // namespace

std::pair<mx::array, mx::array> select_k(const mx::array& x, int k, bool largest, mx::StreamOrDevice s) {
  mx::Stream stream = kernel_stream(kSelectK, s);
  require(x.ndim() >= 1, kSelectK, "x must have at least 1 dimension. Received a scalar.");
  require(k >= 0, kSelectK, "k must be between 0 and the ", x.shape(-1), " values of a row of x ", x.shape(),
          ". Received ", k, ".");
  mx::Dtype type = floating_result_type(kSelectK, {x});
  std::vector<mx::array> inputs{mx::astype(x, type, stream)};
  if (runs_gpu_kernels(stream) && x.ndim() > SELECT_K_BATCH_DIMS + 1) {  // the kernels know so many strides
    inputs[0] = mx::contiguous(inputs[0], false, stream);
  }
  auto primitive = std::make_shared<SelectK>(stream, k, largest);
  std::vector<mx::Shape> shapes = primitive->output_shapes(inputs);
  auto outputs = mx::array::make_arrays(std::move(shapes), {type, mx::int64}, primitive, std::move(inputs));
  return {outputs[0], outputs[1]};
}

}  // namespace metalfaiss::ops
