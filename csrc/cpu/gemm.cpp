#include "cpu/gemm.h"

#include "cpu/accelerate.h"
#include "cpu/gemm_block.h"
#include "cpu/gemm_product.h"
#include "cpu/parallel.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

// ------------------------------------------------- a b, rows of a contiguous

// The product of rows [i, i + rows) of a with rows [p0, p1) of b, in c. `panels` is the packed b, or null.
void av_rows(const Matrix& a, const Matrix& b, const float* panels, int64_t i, int64_t rows, int64_t p0, int64_t p1,
             float* c, int64_t ldc) {
  for (int64_t p = p0; p < p1; p += kDepth) {
    int64_t n = at_most(kDepth, p1 - p);
    Matrix block = block_of(a, i, rows, p, n);
    const float* from = static_cast<const float*>(block.data);
    int64_t lda = block.row_stride;
    bool in_place = has_float_rows(a);
    if (!in_place) {
      float* copy = scratch_floats(Scratch::packed_a, rows * n);
      copy_rows(block, copy, n);
      from = copy;
      lda = n;
    }
    if (panels) {
      block_av(from, lda, rows, n, panels, b.rows, p, b.cols, c, ldc, p > p0, in_place);
    } else {
      float* copy = scratch_floats(Scratch::packed_b, panels_size(n, b.cols));
      copy_panels(block_of(b, p, n, 0, b.cols), copy);
      block_av(from, lda, rows, n, copy, n, 0, b.cols, c, ldc, p > p0, in_place);
    }
  }
}

// A copy of b in panels that all tasks share, or null where it would be too large: tasks then pack what they need.
const float* shared_panels(const Matrix& b) {
  int64_t size = panels_size(b.rows, b.cols);
  if (size > kSharedPanelFloats) {
    return nullptr;
  }
  float* panels = scratch_floats(Scratch::packed_b, size);
  copy_panels(b, panels);
  return panels;
}

void multiply_rows(const Matrix& a, const Matrix& b, const Output& out) {
  int64_t m = a.rows, n = a.cols, k = b.cols;
  int64_t flops = 2 * m * n * k;
  int64_t block = at_least(kBlockFloats / at_most(n, kDepth) / 12 * 12, 12);
  Pieces rows(m, ceil_div(flops, kTaskFlops), 12);
  int64_t most_parts = at_most(kParts, at_least(1, kPartialFloats / (m * k)));
  Pieces depth(n, rows.count < kParts ? at_most(most_parts, n / (8 * kDepth)) : 1, kDepth);
  const float* panels = shared_panels(b);
  float* partial = depth.count > 1 ? scratch_floats(Scratch::partial, depth.count * m * k) : nullptr;
  bool direct = out.type == Float::f32;
  parallel_for(rows.count * depth.count, [&](int64_t task) {
    int64_t part = task / rows.count, piece = task % rows.count;
    for (int64_t i = rows.begin(piece); i < rows.end(piece); i += block) {
      int64_t count = at_most(block, rows.end(piece) - i);
      float* c = partial  ? partial + (part * m + i) * k
                 : direct ? static_cast<float*>(out.at(i, 0))
                          : scratch_floats(Scratch::tile, count * k);
      av_rows(a, b, panels, i, count, depth.begin(part), depth.end(part), c, partial || !direct ? k : out.ld);
      for (int64_t r = 0; !partial && !direct && r < count; r++) {
        store_row(c + r * k, k, out.type, out.at(i + r, 0));
      }
    }
  });
  if (partial) {
    parallel_for(rows.count, [&](int64_t piece) {
      float* total = scratch_floats(Scratch::tile, k);
      for (int64_t i = rows.begin(piece); i < rows.end(piece); i++) {
        add_parts(partial + i * k, depth.count, m * k, k, total);
        store_row(total, k, out.type, out.at(i, 0));
      }
    });
  }
}

// ------------------------------------ a b, columns of a contiguous: x^T b, x = a^T

// Rows [p, p + m) of b as the tiles read them: in place, or a copy in this thread's scratch.
Right right_operand(const Matrix& b, int64_t p, int64_t m) {
  Matrix rows = block_of(b, p, m, 0, b.cols);
  if (b.cols >= kGroupedColumns) {
    return copy_groups(rows, scratch_floats(Scratch::packed_b, groups_size(m, b.cols)));
  }
  if (has_float_rows(b)) {
    return {static_cast<const float*>(rows.data), rows.row_stride};
  }
  float* copy = scratch_floats(Scratch::packed_b, m * b.cols);
  copy_rows(rows, copy, b.cols);
  return {copy, b.cols};
}

// The sums of rows [p0, p1) and of the columns of x, all of them.
void at_b_rows(const Matrix& x, const Matrix& b, int64_t p0, int64_t p1, float* z) {
  int64_t k = b.cols;
  // With few columns of b memory is the limit, and a block small enough to be fetched in order pays.
  int64_t depth = k < kGroupedColumns ? at_most(at_least(kBlockFloats / x.cols, 32), kDepth) : kDepth / 2;
  int64_t width = at_least(kBlockFloats / kDepth / kColumns * kColumns, kColumns);
  for (int64_t p = p0; p < p1; p += depth) {
    int64_t m = at_most(depth, p1 - p);
    Right right = right_operand(b, p, m);
    if (has_float_rows(x)) {
      Matrix block = block_of(x, p, m, 0, x.cols);
      float* panel = scratch_floats(Scratch::packed_a, m * kColumns);
      block_at_b(static_cast<const float*>(block.data), block.row_stride, m, x.cols, right, k, z, p > p0, panel);
      continue;
    }
    for (int64_t i = 0; i < x.cols; i += width) {
      int64_t cols = at_most(width, x.cols - i);
      float* copy = scratch_floats(Scratch::packed_a, m * round_up(cols, kColumns));
      copy_column_panels(block_of(x, p, m, i, cols), copy);
      block_at_b_packed(copy, m, cols, right, k, z + i * k, p > p0);
    }
  }
}

// x^T b, or b^T x where that is wanted `turned`: the wider of the two goes through memory once and is never copied.
void multiply_transposed(const Matrix& x, const Matrix& b, const Output& out, bool turned = false) {
  if (!turned && x.cols < b.cols) {
    return multiply_transposed(b, x, out, true);
  }
  int64_t m = x.rows, n = x.cols, k = b.cols;
  int64_t tasks = at_most(ceil_div(2 * m * n * k, kTaskFlops), at_least(kParts, ceil_div(n * k, 1 << 16)));
  int64_t size = sums_size(n, k);
  int64_t most_parts = at_most(at_least(1, kPartialFloats / size), kParts);
  Pieces depth(m, at_most(at_most(tasks, most_parts), ceil_div(m, kDepth)), kDepth / 2);
  // Few rows are divided by columns, too: their blocks are then strips, which memory likes less.
  Pieces cols(n, depth.count < 4 ? at_most(ceil_div(tasks, depth.count), n / (4 * kColumns)) : 1, kColumns);
  float* partial = depth.count > 1 ? scratch_floats(Scratch::partial, depth.count * size) : nullptr;
  auto finish = [&](const float* z, int64_t i) {
    int64_t cols = at_most(kColumns, n - i);
    if (turned) {
      store_turned_sums(z, cols, k, out.type, out.at(0, i), out.ld);
    } else {
      store_sums(z, cols, k, out.type, out.at(i, 0), out.ld);
    }
  };
  parallel_for(depth.count * cols.count, [&](int64_t task) {
    int64_t part = task / cols.count, i0 = cols.begin(task % cols.count), i1 = cols.end(task % cols.count);
    float* z = partial ? partial + part * size + i0 * k : scratch_floats(Scratch::tile, sums_size(i1 - i0, k));
    at_b_rows(block_of(x, 0, m, i0, i1 - i0), b, depth.begin(part), depth.end(part), z);
    for (int64_t i = i0; !partial && i < i1; i += kColumns) {
      finish(z + (i - i0) * k, i);
    }
  });
  if (partial) {
    parallel_for(ceil_div(n, kColumns), [&](int64_t panel) {
      float* z = scratch_floats(Scratch::tile, kColumns * k);
      add_parts(partial + panel * kColumns * k, depth.count, size, kColumns * k, z);
      finish(z, panel * kColumns);
    });
  }
}

void fill_zero(const Output& out, int64_t rows, int64_t cols) {
  for (int64_t i = 0; i < rows; i++) {
    memset(out.at(i, 0), 0, size_of(out.type) * cols);
  }
}

}  // namespace

void multiply(const Matrix& a, const Matrix& b, const Output& out) {
  if (a.rows == 0 || b.cols == 0) {
    return;
  }
  if (a.cols == 0) {
    return fill_zero(out, a.rows, b.cols);
  }
#if defined(__APPLE__)
  if (multiply_by_accelerate(a, b, out)) {
    return;
  }
#endif
  bool by_columns = a.row_stride == 1 && a.col_stride != 1 && a.rows > 1;
  for (int64_t j = 0; j < b.cols; j += kColumnBlock) {
    Matrix right = block_of(b, 0, b.rows, j, at_most(kColumnBlock, b.cols - j));
    Output part{out.at(0, j), out.type, out.ld};
    if (by_columns) {
      multiply_transposed(a.transposed(), right, part);
    } else {
      multiply_rows(a, right, part);
    }
  }
}

void gemm_av(const GemmArgs& g) {
  for_each_pair(g, g.a.rows, 2 * g.a.rows * g.a.cols * g.b.cols, multiply);
}

void gemm_at_b(const GemmArgs& g) {
  for_each_pair(g, g.a.cols, 2 * g.a.rows * g.a.cols * g.b.cols,
                [](const Matrix& a, const Matrix& b, const Output& out) { multiply(a.transposed(), b, out); });
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
