#include "ops/square_svd.h"

#include "gpu/plans/square_svd.h"
#include "mlx/linalg.h"

namespace metalfaiss::ops {

namespace {

class SquareSvd : public mx::Primitive {
 public:
  explicit SquareSvd(mx::Stream s) : Primitive(s) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    eval_gpu(inputs, outputs);  // of a simulator: CPU streams have another operation
  }

  void eval_gpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    for (mx::array& out : outputs) {
      allocate(out, stream());
    }
    if (inputs[0].size() > 0) {
      run(gpu::plan_square_svd(batch_size(inputs[0].shape()), inputs[0].shape(-1)), inputs, outputs, stream());
    }
  }

  std::pair<std::vector<mx::array>, std::vector<int>> vmap(const std::vector<mx::array>& inputs,
                                                           const std::vector<int>& axes) override {
    auto [u, s, vt] = square_svd(map_to_front(inputs, axes, stream())[0], stream());
    return {{u, s, vt}, {0, 0, 0}};
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    const mx::Shape& shape = inputs[0].shape();
    return {shape, {shape.begin(), shape.end() - 1}, shape};
  }

  const char* name() const override { return "square_svd"; }
  bool is_equivalent(const Primitive&) const override { return true; }
};

}  // namespace

std::tuple<mx::array, mx::array, mx::array> square_svd(const mx::array& a, mx::StreamOrDevice s) {
  mx::Stream stream = kernel_stream("square_svd", s);
  require_matrix("square_svd", "A", a);
  require(a.shape(-1) == a.shape(-2), "square_svd", "A must be square. Received ", a.shape(), ".");
  floating_result_type("square_svd", {a});
  mx::array a32 = mx::astype(a, mx::float32, stream);
  if (!runs_gpu_kernels(stream) || a.shape(-1) > gpu::kMostSquareSvd || a.shape(-1) == 0) {
    auto factors = mx::linalg::svd(a32, true, mx::Device::cpu);
    return {factors[0], factors[1], factors[2]};
  }
  std::vector<mx::array> inputs{mx::contiguous(a32, false, stream)};
  auto primitive = std::make_shared<SquareSvd>(stream);
  auto out = mx::array::make_arrays(primitive->output_shapes(inputs), {mx::float32, mx::float32, mx::float32},
                                    primitive, inputs);
  return {out[0], out[1], out[2]};
}

}  // namespace metalfaiss::ops
