// SVD of small square matrices.
#pragma once

#include <tuple>

#include "ops/common.h"

namespace metalfaiss::ops {

// U (..., n, n), S (..., n) in descending order and V transposed (..., n, n) of matrices (..., n, n), all computed and
// returned in float32. Up to gpu::kMostSquareSvd rows the stream's GPU does it; larger ones, and those of a CPU stream,
// are MLX's, on the CPU. No derivatives.
std::tuple<mx::array, mx::array, mx::array> square_svd(const mx::array& a, mx::StreamOrDevice s = {});

}  // namespace metalfaiss::ops
