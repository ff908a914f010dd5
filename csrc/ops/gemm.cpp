#include "ops/gemm.h"

#include "cpu/gemm.h"
#include "gpu/executor.h"
#include "gpu/plans/gemm.h"
#include "gpu/plans/gemm_products.h"
#include "gpu/plans/z_step_tensor.h"

namespace metalfaiss::ops {

namespace {

enum class Product { av, at_b, z };

const char* op_name(Product p) {
  return p == Product::av ? "gemm_av" : p == Product::at_b ? "gemm_at_b" : "z_step";
}

gpu::GemmOp gpu_op(Product p) {
  return p == Product::av ? gpu::GemmOp::av : p == Product::at_b ? gpu::GemmOp::at_b : gpu::GemmOp::z_step;
}

// For every matrix of a result of shape `out`: how far behind the first matrix of `a` its own one lies, in bytes.
std::vector<int64_t> batch_offsets(const mx::array& a, const mx::Shape& out) {
  std::vector<int64_t> offsets{0}, strides = batch_strides(a, out);
  for (size_t d = 0; d < strides.size(); d++) {  // outer dimensions first
    int64_t stride = strides[d] * static_cast<int64_t>(a.itemsize());
    std::vector<int64_t> inner;
    inner.reserve(offsets.size() * out[d]);
    for (int64_t offset : offsets) {
      for (int64_t i = 0; i < out[d]; i++) {
        inner.push_back(offset + i * stride);
      }
    }
    offsets = std::move(inner);
  }
  return offsets;
}

// How a plan sees an input: matrices that broadcast to those of a result of shape `out`.
gpu::GemmOperand operand(const mx::array& a, const mx::Shape& out) {
  // From the start of its buffer, which every allocator aligns.
  return {a.shape(-2), a.shape(-1), a.strides(-2), a.strides(-1), batch_strides(a, out), a.offset() % 16 == 0};
}

mx::array product(Product p, const mx::array& a, const mx::array& b, mx::StreamOrDevice s);

// All three products: they differ in the contracted dimension and the kernel, and their derivatives are each other.
class Gemm : public mx::Primitive {
 public:
  Gemm(mx::Stream s, Product p) : Primitive(s), product_(p) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    if (runs_gpu_kernels(stream())) {
      return eval_gpu(inputs, outputs);
    }
    mx::array& out = outputs[0];
    allocate(out);
    schedule(stream(), [a = inputs[0], b = inputs[1], out = out, p = product_]() mutable {
      if (out.size() == 0) {
        return;
      }
      auto a_offsets = batch_offsets(a, out.shape()), b_offsets = batch_offsets(b, out.shape());
      cpu::GemmArgs args{matrix_view(a, out.shape(), 0),
                         matrix_view(b, out.shape(), 0),
                         out.data<char>(),
                         float_type(out),
                         batch_size(out.shape()),
                         a_offsets.data(),
                         b_offsets.data()};
      switch (p) {
        case Product::av:
          return cpu::gemm_av(args);
        case Product::at_b:
          return cpu::gemm_at_b(args);
        case Product::z:
          return cpu::z_step(args);
      }
    });
  }

  void eval_gpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    mx::array& out = outputs[0];
    allocate(out, stream());
    if (out.size() == 0) {
      return;
    }
    const mx::Shape& shape = out.shape();
    gpu::GemmProblem problem{gpu_op(product_),
                             float_type(out),
                             operand(inputs[0], shape),
                             operand(inputs[1], shape),
                             {shape.begin(), shape.end() - 2}};
    run(plan(problem), inputs, outputs, stream());
  }

  std::vector<mx::array> jvp(const std::vector<mx::array>& primals, const std::vector<mx::array>& tangents,
                             const std::vector<int>& argnums) override {
    const mx::array &a = primals[0], &b = primals[1];
    auto along = [&](int arg, const mx::array& t) {
      if (arg == 1) {
        return product(product_, a, t, stream());
      }
      if (product_ != Product::z) {
        return product(product_, t, b, stream());
      }
      mx::array av = product(Product::av, a, b, stream());
      mx::array tv = product(Product::av, t, b, stream());
      return mx::add(product(Product::at_b, t, av, stream()), product(Product::at_b, a, tv, stream()), stream());
    };
    mx::array out = along(argnums[0], tangents[0]);
    if (argnums.size() > 1) {
      out = mx::add(out, along(argnums[1], tangents[1]), stream());
    }
    return {out};
  }

  std::vector<mx::array> vjp(const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
                             const std::vector<int>& argnums, const std::vector<mx::array>&) override {
    const mx::array &a = primals[0], &b = primals[1], &g = cotangents[0];
    auto t = [&](const mx::array& x) { return mx::swapaxes(x, -1, -2, stream()); };
    auto av = [&](const mx::array& x, const mx::array& y) { return product(Product::av, x, y, stream()); };
    auto gradient = [&](int arg) {
      switch (product_) {
        case Product::av:
          return arg == 0 ? av(g, t(b)) : product(Product::at_b, a, g, stream());
        case Product::at_b:
          return arg == 0 ? av(b, t(g)) : av(a, g);
        default:
          return arg == 0 ? mx::add(av(av(a, b), t(g)), av(av(a, g), t(b)), stream())
                          : product(Product::z, a, g, stream());
      }
    };
    std::vector<mx::array> out;
    for (int arg : argnums) {
      out.push_back(sum_to_batch_of(gradient(arg), primals[arg], stream()));
    }
    return out;
  }

  std::pair<std::vector<mx::array>, std::vector<int>> vmap(const std::vector<mx::array>& inputs,
                                                           const std::vector<int>& axes) override {
    auto mapped = map_to_front(inputs, axes, stream());
    return {{product(product_, mapped[0], mapped[1], stream())}, {0}};
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    const mx::array &a = inputs[0], &b = inputs[1];
    return {broadcast_batch(name(), a, b, {product_ == Product::av ? a.shape(-2) : a.shape(-1), b.shape(-1)})};
  }

  const char* name() const override { return op_name(product_); }

  bool is_equivalent(const Primitive& other) const override {
    return product_ == static_cast<const Gemm&>(other).product_;
  }

 private:
  gpu::Plan plan(const gpu::GemmProblem& problem) {
    const gpu::Executor& executor = *gpu::executor(stream());
    if (executor.multiplies()) {
      if (auto tensor = gpu::plan_z_step_tensor(problem, {executor.threadgroup_bytes(), executor.multiprocessors()})) {
        return *tensor;
      }
      if (auto products = gpu::plan_gemm_products(problem)) {
        return *products;
      }
    }
    return gpu::plan_gemm(problem);
  }

  Product product_;
};

mx::array product(Product p, const mx::array& a, const mx::array& b, mx::StreamOrDevice s) {
  const char* op = op_name(p);
  const char* b_name = p == Product::at_b ? "B" : "V";
  mx::Stream stream = kernel_stream(op, s);
  require_matrix(op, "A", a);
  require_matrix(op, b_name, b);
  int contracted = p == Product::at_b ? a.shape(-2) : a.shape(-1);
  require(b.shape(-2) == contracted, op, b_name, " must have ", contracted, " rows to match A ", a.shape(),
          ". Received ", b.shape(), ".");
  mx::Dtype type = floating_result_type(op, {a, b});
  std::vector<mx::array> inputs{mx::astype(a, type, stream), mx::astype(b, type, stream)};
  auto primitive = std::make_shared<Gemm>(stream, p);
  mx::Shape shape = primitive->output_shapes(inputs)[0];
  return mx::array(std::move(shape), type, std::move(primitive), std::move(inputs));
}

}  // namespace

mx::array gemm_av(const mx::array& a, const mx::array& v, mx::StreamOrDevice s) {
  return product(Product::av, a, v, s);
}

mx::array gemm_at_b(const mx::array& a, const mx::array& b, mx::StreamOrDevice s) {
  return product(Product::at_b, a, b, s);
}

mx::array z_step(const mx::array& a, const mx::array& v, mx::StreamOrDevice s) {
  return product(Product::z, a, v, s);
}

}  // namespace metalfaiss::ops
