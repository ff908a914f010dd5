#if defined(__APPLE__)

#include "gpu/metal_product.h"

#include <stdexcept>
#include <string>

#include "mlx/backend/metal/device.h"
#include "mlx/backend/metal/kernels/steel/gemm/params.h"

namespace metalfaiss::gpu {

namespace {

namespace mx = mlx::core;

// A kernel of MLX's mlx.metallib, by the tile in its name. tests/metal/mac checks that the pinned wheels have them.
struct GemmKernel {
  const char* family;
  int bm, bn, bk, wm, wn;

  std::string name(bool b_transposed) const {
    return std::string(family) + (b_transposed ? "_nt" : "_nn") + "_float32_float32_bm" + std::to_string(bm) + "_bn" +
           std::to_string(bn) + "_bk" + std::to_string(bk) + "_wm" + std::to_string(wm) + "_wn" + std::to_string(wn);
  }
};

constexpr GemmKernel kGemm{"steel_gemm_fused", 64, 64, 16, 2, 2};
constexpr GemmKernel kGemmSmallGpu{"steel_gemm_fused", 64, 32, 32, 2, 2};
constexpr GemmKernel kGemmTf32{"steel_gemm_fused_nax", 128, 128, 512, 4, 4};
constexpr GemmKernel kGemmTf32LargeGpu{"steel_gemm_fused_nax", 64, 128, 256, 2, 4};

// The GPU's class ends MLX's name of its architecture: g is a base or Pro chip, s a Max, d an Ultra, p a phone.
char gpu_class(const mx::metal::Device& device) {
  return device.get_architecture().back();
}

GemmKernel gemm_kernel(const mx::metal::Device& device, bool b_transposed, bool tf32) {
  char gpu = gpu_class(device);
  if (tf32) {
    return gpu == 's' || gpu == 'd' ? kGemmTf32LargeGpu : kGemmTf32;
  }
  return b_transposed && (gpu == 'g' || gpu == 'p') ? kGemmSmallGpu : kGemm;
}

MTL::ComputePipelineState* pipeline(mx::metal::Device& device, const GemmKernel& kernel, const Product& p) {
  bool off = false, align_m = p.m % kernel.bm == 0, align_n = p.n % kernel.bn == 0, align_k = p.k % kernel.bk == 0;
  constexpr auto kBool = MTL::DataType::DataTypeBool;
  mx::metal::MTLFCList constants = {{&off, kBool, 10},      {&off, kBool, 100},     {&off, kBool, 110},
                                    {&align_m, kBool, 200}, {&align_n, kBool, 201}, {&align_k, kBool, 202}};
  auto flag = [](bool b) { return b ? "t" : "f"; };
  std::string name = kernel.name(p.b_transposed);
  std::string key = name + "_metalfaiss_" + flag(align_m) + flag(align_n) + flag(align_k);
  return device.get_kernel(name, key, constants);
}

// Whether the GPU has matrix units (M5) and the installed MLX brings kernels for them (its wheels for macOS 26).
bool has_tf32(mx::metal::Device& device) {
  static const bool has = [&] {
    if (device.get_architecture_gen() < (gpu_class(device) == 'p' ? 18 : 17)) {
      return false;
    }
    try {
      Product aligned{};
      aligned.b_transposed = true;
      pipeline(device, gemm_kernel(device, true, true), aligned);
      return true;
    } catch (const std::runtime_error&) {
      return false;
    }
  }();
  return has;
}

int dimension(int64_t n) {
  if (n > INT32_MAX) {
    throw std::invalid_argument("[matmul] Dimensions and strides must be below 2**31. Received " + std::to_string(n) +
                                ".");
  }
  return static_cast<int>(n);
}

}  // namespace

void multiply(const Product& p, const Place& a, const Place& b, Place out, mx::Stream stream) {
  auto& device = mx::metal::device(stream.device);
  auto& encoder = mx::metal::get_command_encoder(stream);
  GemmKernel kernel = gemm_kernel(device, p.b_transposed, p.tf32 && has_tf32(device));
  int m = dimension(p.m), n = dimension(p.n), k = dimension(p.k);
  int tiles_m = (m + kernel.bm - 1) / kernel.bm, tiles_n = (n + kernel.bn - 1) / kernel.bn;
  mlx::steel::GEMMParams params{m,
                                n,
                                k,
                                dimension(p.a_stride),
                                dimension(p.b_stride),
                                n,
                                tiles_n,
                                tiles_m,
                                0,
                                0,
                                p.m * p.n,
                                /*swizzle=*/0,
                                k / kernel.bk,
                                /*batch_ndim=*/1};
  encoder.set_compute_pipeline_state(pipeline(device, kernel, p));
  encoder.set_input_array(a.array, 0, a.offset);
  encoder.set_input_array(b.array, 1, b.offset);
  encoder.set_output_array(out.array, 3, out.offset);
  encoder.set_bytes(params, 4);
  encoder.dispatch_threadgroups(MTL::Size(tiles_n, tiles_m, 1), MTL::Size(32, kernel.wn, kernel.wm));
}

}  // namespace metalfaiss::gpu

#endif
