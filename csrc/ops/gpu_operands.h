// Operands as the plans of GPU kernels see them.
#pragma once

#include <string>

#include "gpu/plans/batch.h"
#include "ops/common.h"

namespace metalfaiss::ops {

// An element type in Metal's words.
inline std::string metal_type(const mx::array& a) {
  return a.dtype() == mx::float32 ? "float" : a.dtype() == mx::float16 ? "half" : "bfloat";
}

// The batch dimensions of a result of shape `out`, to which those of a and b broadcast.
inline gpu::Batch batch_of(const mx::array& a, const mx::array& b, const mx::Shape& out) {
  auto stride = [](const mx::array& x, int from_end) -> int64_t {
    return from_end > static_cast<int>(x.ndim()) || x.shape(-from_end) == 1 ? 0 : x.strides(-from_end);
  };
  gpu::Batch batch;
  for (int from_end = static_cast<int>(out.size()); from_end > 2; from_end--) {
    batch.shape.push_back(out[out.size() - from_end]);
    batch.a_strides.push_back(stride(a, from_end));
    batch.b_strides.push_back(stride(b, from_end));
  }
  return batch;
}

}  // namespace metalfaiss::ops
