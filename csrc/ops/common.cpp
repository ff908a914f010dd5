#include "ops/common.h"

#include <algorithm>
#include <cstdlib>
#include <new>

#include "cpu/huge_pages.h"
#include "gpu/executor.h"
#include "mlx/allocator.h"

namespace metalfaiss::ops {

void append(std::string& out, const mx::Shape& shape) {
  out += '(';
  for (size_t i = 0; i < shape.size(); i++) {
    out += (i ? ", " : "") + std::to_string(shape[i]);
  }
  out += shape.size() == 1 ? ",)" : ")";
}

namespace {

// MLX's own error for a GPU that is not there says nothing of the stream that is.
mx::Stream existing_stream(const char* op, mx::StreamOrDevice s) {
  auto* device = std::get_if<mx::Device>(&s);
  auto* type = std::get_if<mx::Device::DeviceType>(&s);
  bool exists = device ? mx::is_available(*device) : !type || mx::is_available(mx::Device(*type));
  require(exists, op, "This machine must have a GPU that MLX finds: pass stream=mx.cpu. Received a GPU stream.");
  return mx::to_stream(s);
}

}  // namespace

mx::Stream kernel_stream(const char* op, mx::StreamOrDevice s) {
  mx::Stream stream = existing_stream(op, s);
  if (stream.device != mx::Device::cpu && !runs_gpu_kernels(stream)) {
    require(false, op,
            "A GPU stream needs a GPU that this build can drive: pass stream=mx.cpu. Received a GPU stream. ",
            gpu::why_no_executor());
  }
  return stream;
}

mx::Stream cpu_stream(const char* op, mx::StreamOrDevice s) {
  bool named = !std::holds_alternative<std::monostate>(s);
  mx::Stream stream = named ? existing_stream(op, s) : mx::default_stream(mx::Device::cpu);
  require(stream.device == mx::Device::cpu && !runs_gpu_kernels(stream), op,
          "A GPU has no kernel for it: pass stream=mx.cpu. Received a GPU stream.");
  return stream;
}

bool runs_gpu_kernels(mx::Stream s) {
  return gpu::executor(s) != nullptr;
}

void run(const gpu::Plan& plan, const std::vector<mx::array>& inputs, const std::vector<mx::array>& outputs,
         mx::Stream s) {
  gpu::executor(s)->run(plan, inputs, outputs, s);
}

std::optional<mx::array> rows_of(const std::vector<mx::array>& inputs) {
  return inputs.size() > 2 ? std::optional(inputs[2]) : std::nullopt;
}

mx::Dtype floating_result_type(const char* op, const std::vector<mx::array>& arrays) {
  mx::Dtype type = mx::result_type(arrays);
  if (type == mx::complex64 || type == mx::float64) {
    throw TypeError(message(op, "Arrays must be float32, float16 or bfloat16. Received ",
                            type == mx::complex64 ? "complex64" : "float64", "."));
  }
  return mx::issubdtype(type, mx::floating) ? type : mx::float32;
}

void require_matrix(const char* op, const char* name, const mx::array& a) {
  require(a.ndim() >= 2, op, name, " must have at least 2 dimensions. Received shape ", a.shape(), ".");
}

mx::Shape broadcast_batch(const char* op, const mx::array& a, const mx::array& b,
                          std::initializer_list<mx::ShapeElem> tail) {
  auto x = a.shape(), y = b.shape();
  if (x.size() < y.size()) {
    std::swap(x, y);
  }
  mx::Shape out(x.begin(), x.end() - 2);
  size_t lead = x.size() - y.size();
  for (size_t i = 0; i + 2 < y.size(); i++) {
    mx::ShapeElem& dim = out[lead + i];
    require(dim == y[i] || dim == 1 || y[i] == 1, op, "Batch dimensions must broadcast. Received ", a.shape(), " and ",
            b.shape(), ".");
    dim = dim == 1 ? y[i] : dim;
  }
  out.insert(out.end(), tail.begin(), tail.end());
  return out;
}

int64_t batch_size(const mx::Shape& shape) {
  int64_t n = 1;
  for (size_t i = 0; i + 2 < shape.size(); i++) {
    n *= shape[i];
  }
  return n;
}

cpu::Float float_type(const mx::array& a) {
  return a.dtype() == mx::float32 ? cpu::Float::f32 : a.dtype() == mx::float16 ? cpu::Float::f16 : cpu::Float::bf16;
}

std::vector<int64_t> batch_strides(const mx::array& a, const mx::Shape& out) {
  std::vector<int64_t> strides;
  for (int from_end = static_cast<int>(out.size()); from_end > 2; from_end--) {
    bool has = from_end <= static_cast<int>(a.ndim()) && a.shape(-from_end) != 1;
    strides.push_back(has ? a.strides(-from_end) : 0);
  }
  return strides;
}

cpu::Matrix matrix_view(const mx::array& a, const mx::Shape& out, int64_t batch) {
  int64_t offset = 0;
  for (int from_end = 3; from_end <= static_cast<int>(a.ndim()); from_end++) {
    int64_t index = batch % out[out.size() - from_end];
    batch /= out[out.size() - from_end];
    offset += a.shape(-from_end) == 1 ? 0 : index * a.strides(-from_end);
  }
  return {a.data<char>() + offset * static_cast<int64_t>(a.itemsize()),
          float_type(a),
          a.shape(-2),
          a.shape(-1),
          a.strides(-2),
          a.strides(-1)};
}

mx::array sum_to_batch_of(const mx::array& g, const mx::array& input, mx::Stream s) {
  int lead = static_cast<int>(g.ndim() - input.ndim());
  std::vector<int> repeated, added;
  for (int i = 0; i < static_cast<int>(g.ndim()) - 2; i++) {
    if (i < lead) {
      added.push_back(i);
    } else if (input.shape(i - lead) == 1 && g.shape(i) != 1) {
      repeated.push_back(i);
    }
  }
  mx::array out = repeated.empty() ? g : mx::sum(g, repeated, true, s);
  return added.empty() ? out : mx::sum(out, added, false, s);
}

std::vector<mx::array> map_to_front(const std::vector<mx::array>& inputs, const std::vector<int>& axes, mx::Stream s) {
  size_t ndim = 0;  // of the largest input, without the mapped axis
  for (size_t i = 0; i < inputs.size(); i++) {
    ndim = std::max(ndim, inputs[i].ndim() - (axes[i] >= 0));
  }
  std::vector<mx::array> out;
  for (size_t i = 0; i < inputs.size(); i++) {
    mx::array x = inputs[i];
    if (axes[i] >= 0) {
      x = mx::moveaxis(x, axes[i], 0, s);
      while (x.ndim() < ndim + 1) {
        x = mx::expand_dims(x, 1, s);
      }
    }
    out.push_back(x);
  }
  return out;
}

void allocate(mx::array& out, mx::Stream s) {
  out.set_data(gpu::executor(s)->allocate(static_cast<int64_t>(out.nbytes()), s));
}

namespace {

// Python's MemoryError.
class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(size_t bytes)
      : what_(message("allocate", "A result must fit into memory. Received one of ", bytes, " bytes.")) {}
  const char* what() const noexcept override { return what_.c_str(); }

 private:
  std::string what_;
};

}  // namespace

void allocate(mx::array& out) {
  // MLX counts what it failed to allocate as memory in use, for good: above its limit every evaluation waits for all
  // tasks. So the system is asked first, where it may refuse.
  constexpr size_t kMayFail = size_t{1} << 30;
  if (out.nbytes() >= kMayFail) {
    void* volatile probe = std::malloc(out.nbytes());  // volatile: compilers leave out allocations of no use
    if (probe == nullptr) {
      throw OutOfMemory(out.nbytes());
    }
    std::free(probe);
  }
  mx::allocator::Data data = mx::allocator::malloc(out.nbytes());
  if (data.buffer().ptr() == nullptr && out.nbytes() > 0) {
    throw OutOfMemory(out.nbytes());
  }
  out.set_data(std::move(data));
  cpu::prefer_huge_pages(out.data<char>(), out.nbytes());
}

}  // namespace metalfaiss::ops
