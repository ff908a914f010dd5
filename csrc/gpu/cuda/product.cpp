#include "gpu/cuda/product.h"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>

#include "gpu/cuda/cublas_lt.h"
#include "gpu/cuda/memory.h"

namespace metalfaiss::gpu {

namespace {

constexpr uint64_t kMostWorkspace = uint64_t{32} << 20;  // what cuBLAS recommends for Hopper

void check_cublas(int status, const char* call) {
  if (status != 0) {
    throw std::runtime_error(std::string("[gpu] cuBLAS must multiply. ") + call + " said " + std::to_string(status) +
                             ".");
  }
}

#define METALFAISS_CUBLAS(call, ...) check_cublas(call(__VA_ARGS__), #call)

// The largest power of two, up to 256, that divides an address: what cuBLASLt assumes otherwise.
uint32_t alignment(const void* address) {
  auto bits = reinterpret_cast<uintptr_t>(address) | 256;
  return static_cast<uint32_t>(bits & -bits);
}

// What an algorithm is chosen by.
using Key = std::array<int64_t, 12>;

Key key_of(const Product& p, const void* a, const void* b, const void* out, int device) {
  return {device,         p.m,    p.n,          p.k,          p.a_stride,     p.b_stride,
          p.b_transposed, p.tf32, alignment(a), alignment(b), alignment(out), p.a_transposed};
}

// A product as cuBLASLt sees it, whose matrices are stored by columns: out transposed = B transposed A transposed.
class Multiplication {
 public:
  Multiplication(const Key& key, cublasLtHandle_t handle) : handle_(handle) {
    auto [device, m, n, k, a_stride, b_stride, b_transposed, tf32, a_alignment, b_alignment, out_alignment,
          a_transposed] = key;
    int type = tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, transposed = CUBLAS_OP_T;
    METALFAISS_CUBLAS(cublasLtMatmulDescCreate, &operation_, type, CUDA_R_32F);
    if (b_transposed) {
      METALFAISS_CUBLAS(cublasLtMatmulDescSetAttribute, operation_, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                        sizeof(transposed));
    }
    if (a_transposed) {
      METALFAISS_CUBLAS(cublasLtMatmulDescSetAttribute, operation_, CUBLASLT_MATMUL_DESC_TRANSB, &transposed,
                        sizeof(transposed));
    }
    METALFAISS_CUBLAS(cublasLtMatrixLayoutCreate, &left_, CUDA_R_32F, static_cast<uint64_t>(b_transposed ? k : n),
                      static_cast<uint64_t>(b_transposed ? n : k), b_stride);
    METALFAISS_CUBLAS(cublasLtMatrixLayoutCreate, &right_, CUDA_R_32F, static_cast<uint64_t>(a_transposed ? m : k),
                      static_cast<uint64_t>(a_transposed ? k : m), a_stride);
    METALFAISS_CUBLAS(cublasLtMatrixLayoutCreate, &out_, CUDA_R_32F, static_cast<uint64_t>(n), static_cast<uint64_t>(m),
                      n);
    choose(static_cast<uint32_t>(b_alignment), static_cast<uint32_t>(a_alignment),
           static_cast<uint32_t>(out_alignment));
  }

  size_t workspace() const { return chosen_.workspaceSize; }

  void run(const void* a, const void* b, void* out, void* workspace, cudaStream_t stream) const {
    float one = 1.0f, zero = 0.0f;
    METALFAISS_CUBLAS(cublasLtMatmul, handle_, operation_, &one, b, left_, a, right_, &zero, out, out_, out, out_,
                      &chosen_.algo, workspace, chosen_.workspaceSize, stream);
  }

 private:
  void choose(uint32_t left, uint32_t right, uint32_t out) {
    cublasLtMatmulPreference_t preference = nullptr;
    METALFAISS_CUBLAS(cublasLtMatmulPreferenceCreate, &preference);
    auto prefer = [&](int attribute, const auto& value) {
      METALFAISS_CUBLAS(cublasLtMatmulPreferenceSetAttribute, preference, attribute, &value, sizeof(value));
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kMostWorkspace);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, left);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, right);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, out);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, out);
    int found = 0;
    METALFAISS_CUBLAS(cublasLtMatmulAlgoGetHeuristic, handle_, operation_, left_, right_, out_, out_, preference, 1,
                      &chosen_, &found);
    cublasLtMatmulPreferenceDestroy(preference);
    check_cublas(found == 1 ? chosen_.state : -1, "cublasLtMatmulAlgoGetHeuristic");
  }

  cublasLtHandle_t handle_;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t left_ = nullptr, right_ = nullptr, out_ = nullptr;
  cublasLtMatmulHeuristicResult_t chosen_{};
};

// Those of the process, which are never destroyed: cuBLAS may be gone before statics are.
const Multiplication& multiplication(const Key& key) {
  static std::mutex mutex;
  static auto* handles = new std::map<int64_t, cublasLtHandle_t>;
  static auto* made = new std::map<Key, Multiplication>;
  std::lock_guard lock(mutex);
  cublasLtHandle_t& handle = (*handles)[key[0]];
  if (!handle) {
    METALFAISS_CUBLAS(cublasLtCreate, &handle);
  }
  return made->try_emplace(key, key, handle).first->second;
}

}  // namespace

void multiply(const Product& product, const void* a, const void* b, void* out, mx::cu::CommandEncoder& encoder) {
  mx::cu::Device& device = encoder.device();
  device.make_current();
  const Multiplication& chosen = multiplication(key_of(product, a, b, out, device.cuda_device()));
  void* workspace = nullptr;
  if (chosen.workspace() > 0) {
    mx::array memory = device_temporary(device, static_cast<int64_t>(chosen.workspace()));
    encoder.add_temporary(memory);
    workspace = mx::gpu_ptr<void>(memory);
  }
  // What cuBLAS does on the stream becomes a node of MLX's graph.
  auto capture = encoder.capture_context();
  chosen.run(a, b, out, workspace, encoder.stream());
}

}  // namespace metalfaiss::gpu
