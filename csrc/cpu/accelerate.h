// Apple's BLAS, which runs on the matrix units that this library's own kernels do not reach.
#pragma once

#if defined(__APPLE__)

#include "cpu/gemm_split.h"

extern "C" void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float* a,
                            int lda, const float* b, int ldb, float beta, float* c, int ldc);

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

// Not tuned: not yet run on Apple hardware.
inline constexpr int64_t kAccelerateFlops = 1 << 22;

enum { kRowMajor = 101, kNoTranspose = 111, kTranspose = 112 };  // as in cblas.h

// The distance between the rows (or, transposed, the columns) if BLAS can take the matrix, otherwise 0.
inline int blas_stride(const Matrix& m, bool transposed) {
  int64_t along = transposed ? m.row_stride : m.col_stride, across = transposed ? m.col_stride : m.row_stride;
  int64_t length = transposed ? m.rows : m.cols;
  return m.type == Float::f32 && along == 1 && across >= length && across <= INT32_MAX ? static_cast<int>(across) : 0;
}

// out = a b by Accelerate, or false where that is not possible or not worth it.
inline bool multiply_by_accelerate(const Matrix& a, const Matrix& b, const Output& out) {
  bool ta = !blas_stride(a, false), tb = !blas_stride(b, false);
  int lda = blas_stride(a, ta), ldb = blas_stride(b, tb);
  if (!lda || !ldb || out.type != Float::f32 || at_least(at_least(a.rows, a.cols), b.cols) > INT32_MAX ||
      2 * a.rows * a.cols * b.cols < kAccelerateFlops) {
    return false;
  }
  cblas_sgemm(kRowMajor, ta ? kTranspose : kNoTranspose, tb ? kTranspose : kNoTranspose, static_cast<int>(a.rows),
              static_cast<int>(b.cols), static_cast<int>(a.cols), 1.0f, static_cast<const float*>(a.data), lda,
              static_cast<const float*>(b.data), ldb, 0.0f, static_cast<float*>(out.data), static_cast<int>(out.ld));
  return true;
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL

#endif
