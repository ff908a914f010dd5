// The product of one pair of matrices, whatever its types and strides, on all threads.
#pragma once

#include "cpu/gemm_split.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

void multiply(const Matrix& a, const Matrix& b, const Output& out);  // a b

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
