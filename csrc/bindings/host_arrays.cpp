// Large float32 arrays of the host: seen as MLX's without a copy, and looked at by all threads.
#include <nanobind/ndarray.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <memory>

#include "bindings/bindings.h"
#include "cpu/parallel.h"
#include "ops/common.h"

namespace metalfaiss {

namespace {

namespace mx = mlx::core;
using HostMatrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// An MLX array lies in memory of MLX's allocator, or so its backends suppose: this one lies at an offset from some.
// Nothing writes to it, since MLX reuses only memory that an array owns.
mx::array borrowed(const HostMatrix& x) {
  ops::require(x.shape(0) <= INT32_MAX && x.shape(1) <= INT32_MAX, "borrowed", "Dimensions must be below 2^31.");
  const mx::Shape shape{static_cast<int>(x.shape(0)), static_cast<int>(x.shape(1))};
  mx::array out(shape, mx::float32, nullptr, {});
  mx::allocator::Buffer anchor = mx::allocator::allocator().malloc(64);
  const auto offset = reinterpret_cast<intptr_t>(x.data()) - reinterpret_cast<intptr_t>(anchor.raw_ptr());
  auto owner = std::make_shared<HostMatrix>(x);
  auto release = [owner](mx::allocator::Buffer buffer) { mx::allocator::allocator().free(buffer); };
  const mx::array::Flags flags{true, true, out.size() <= 1 || out.shape(0) == 1 || out.shape(1) == 1};
  out.set_data(mx::allocator::Data(anchor, release), out.size(), out.strides(), flags, offset);
  out.set_status(mx::array::Status::available);
  return out;
}

bool all_finite(const mx::array& x) {
  constexpr int64_t kTogether = 1 << 16;  // values that one thread takes
  ops::require(x.dtype() == mx::float32 && x.is_available() && x.flags().row_contiguous, "all_finite",
               "x must be float32, evaluated and row-contiguous. Received another array.");
  const auto* values = x.data<float>();
  const auto n = static_cast<int64_t>(x.size());
  nb::gil_scoped_release release;
  std::atomic<bool> finite{true};
  cpu::parallel_for((n + kTogether - 1) / kTogether, [&](int64_t task) {
    constexpr uint32_t kExponent = 0x7f800000;
    const int64_t last = std::min(n, (task + 1) * kTogether);
    uint32_t found = 0;
    for (int64_t i = task * kTogether; i < last; i++) {
      found |= (std::bit_cast<uint32_t>(values[i]) & kExponent) == kExponent;
    }
    if (found) {
      finite = false;
    }
  });
  return finite;
}

}  // namespace

void bind_host_arrays(nb::module_& m) {
  m.def(
      "borrowed", &borrowed, "x"_a,
      "A float32 matrix of the host as mx.array, without a copy, for reading on CPU streams alone: a GPU does not find "
      "it.");
  m.def("all_finite", &all_finite, "x"_a, "Whether an evaluated float32 array holds neither NaNs nor infinities.");
}

}  // namespace metalfaiss
