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
  return {{out.begin(), out.end() - 2}, batch_strides(a, out), batch_strides(b, out)};
}

}  // namespace metalfaiss::ops
