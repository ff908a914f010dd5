#include "cpu/gemm.h"

#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {
float at(const Matrix& m, int64_t i, int64_t j) {
  int64_t e = i * m.row_stride + j * m.col_stride;
  switch (m.type) {
    case Float::f16:
      return load_one(static_cast<const half_t*>(m.data) + e);
    case Float::bf16:
      return load_one(static_cast<const bfloat_t*>(m.data) + e);
    default:
      return static_cast<const float*>(m.data)[e];
  }
}
}  // namespace

void gemm_av(const GemmArgs& g) {
  for (int64_t i = 0; i < g.a.rows; i++)
    for (int64_t j = 0; j < g.b.cols; j++) {
      float s = 0;
      for (int64_t p = 0; p < g.a.cols; p++) s += at(g.a, i, p) * at(g.b, p, j);
      static_cast<float*>(g.out)[i * g.b.cols + j] = s;
    }
}

void gemm_at_b(const GemmArgs& g) {
  gemm_av({g.a.transposed(), g.b, g.out, g.out_type});
}

void z_step(const GemmArgs& g) {
  (void)g;
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
