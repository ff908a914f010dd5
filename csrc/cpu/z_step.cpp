// a^T (a v) in one pass over a: while a block of rows lies in a core's cache, both products use it.
#include "cpu/gemm_block.h"
#include "cpu/gemm_product.h"
#include "cpu/parallel.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

constexpr int64_t kFewestRows = 16;  // of a block: fewer would spend their time loading and storing sums

// Adds rows [i0, i1) of a to the sums z, which start there when `first`.
void z_rows(const Matrix& a, const float* panels, int64_t k, int64_t i0, int64_t i1, float* z) {
  int64_t n = a.cols;
  int64_t block = at_most(at_least(2 * kBlockFloats / n / 12 * 12, kFewestRows), kDepth);
  bool in_place = has_float_rows(a);
  float* av = scratch_floats(Scratch::tile, block * (k + kColumns) + groups_size(block, k));
  float* panel = av + block * k;
  float* groups = panel + block * kColumns;
  for (int64_t i = i0; i < i1; i += block) {
    int64_t m = at_most(block, i1 - i);
    Matrix rows = block_of(a, i, m, 0, n);
    const float* from = static_cast<const float*>(rows.data);
    int64_t lda = rows.row_stride;
    if (!in_place) {
      float* copy = scratch_floats(Scratch::packed_a, block * n);
      copy_rows(rows, copy, n);
      from = copy;
      lda = n;
    }
    for (int64_t p = 0; p < n; p += kDepth) {
      block_av(from + p, lda, m, at_most(kDepth, n - p), panels, n, p, k, av, k, p > 0, in_place);
    }
    Right right{av, k};
    if (k >= kGroupedColumns) {
      right = copy_groups({av, Float::f32, m, k, k, 1}, groups);
    }
    block_at_b(from, lda, m, n, right, k, z, i > i0, panel);
  }
}

void z_narrow(const Matrix& a, const Matrix& v, const Output& out) {
  int64_t m = a.rows, n = a.cols, k = v.cols;
  float* panels = scratch_floats(Scratch::packed_b, panels_size(n, k));
  copy_panels(v, panels);
  int64_t size = sums_size(n, k);
  int64_t tasks = at_most(ceil_div(4 * m * n * k, 4 * kTaskFlops), at_most(kParts, kPartialFloats / size));
  Pieces rows(m, tasks, 12);
  float* partial = scratch_floats(Scratch::partial, rows.count * size);
  parallel_for(rows.count,
               [&](int64_t part) { z_rows(a, panels, k, rows.begin(part), rows.end(part), partial + part * size); });
  parallel_for(ceil_div(n, kColumns), [&](int64_t p) {
    float* z = scratch_floats(Scratch::tile, kColumns * k);
    add_parts(partial + p * kColumns * k, rows.count, size, kColumns * k, z);
    store_sums(z, at_most(kColumns, n - p * kColumns), k, out.type, out.at(p * kColumns, 0), out.ld);
  });
}

// Where the sums of several threads would not fit: two products, a few columns at a time if a v is large.
void z_wide(const Matrix& a, const Matrix& v, const Output& out) {
  int64_t step = at_least(kPartialFloats / a.rows, 8);
  for (int64_t j = 0; j < v.cols; j += step) {
    int64_t k = at_most(step, v.cols - j);
    float* av = scratch_floats(Scratch::product, a.rows * k);
    multiply(a, block_of(v, 0, v.rows, j, k), {av, Float::f32, k});
    multiply(a.transposed(), {av, Float::f32, a.rows, k, k, 1}, {out.at(0, j), out.type, out.ld});
  }
}

void z_product(const Matrix& a, const Matrix& v, const Output& out) {
  if (a.rows == 0 || a.cols == 0 || v.cols == 0) {
    multiply(a.transposed(), {nullptr, Float::f32, a.rows, v.cols, v.cols, 1}, out);
  } else if (sums_size(a.cols, v.cols) > kPartialFloats / 4 || 4 * a.rows < a.cols) {
    z_wide(a, v, out);
  } else {
    for (int64_t j = 0; j < v.cols; j += kColumnBlock) {
      z_narrow(a, block_of(v, 0, v.rows, j, at_most(kColumnBlock, v.cols - j)), {out.at(0, j), out.type, out.ld});
    }
  }
}

}  // namespace

void z_step(const GemmArgs& g) {
  for_each_pair(g, g.a.cols, 4 * g.a.rows * g.a.cols * g.b.cols, z_product);
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
