#include "gpu/plans/gemm_products.h"

#include <algorithm>

namespace metalfaiss::gpu {

namespace {

constexpr int64_t kBytes = sizeof(float);

// A matrix as a product takes it: rows one after the other, of the matrix or of its transpose.
struct Operand {
  Memory memory;
  int64_t stride;
  bool transposed;
};

std::optional<Operand> operand(Memory memory, const GemmOperand& x) {
  if (x.column_stride == 1 && x.row_stride >= x.columns) {
    return Operand{memory, x.row_stride, false};
  }
  if (x.row_stride == 1 && x.column_stride >= x.rows) {
    return Operand{memory, x.column_stride, true};
  }
  return std::nullopt;
}

Operand transposed(Operand x) {
  x.transposed = !x.transposed;
  return x;
}

// out (m, n) = a (m, k) b (k, n)
Product product(const Operand& a, const Operand& b, Memory out, int64_t m, int64_t n, int64_t k) {
  return {a.memory, b.memory, out, m, n, k, a.stride, b.stride, b.transposed, false, a.transposed};
}

Memory moved(Memory memory, int64_t elements) {
  memory.offset += elements * kBytes;
  return memory;
}

// How far behind the first matrix that of index `i` lies, in elements.
int64_t offset_of(const GemmOperand& x, const std::vector<int64_t>& batch, int64_t i) {
  int64_t offset = 0;
  for (size_t d = batch.size(); d-- > 0; i /= batch[d]) {
    offset += i % batch[d] * x.batch_strides[d];
  }
  return offset;
}

}  // namespace

std::optional<Plan> plan_gemm_products(const GemmProblem& g, const GemmProducts& limits) {
  int64_t rows = g.a.rows, columns = g.a.columns, k = g.b.columns, batches = 1;
  for (int64_t size : g.batch) {
    batches *= size;
  }
  bool z = g.op == GemmOp::z_step;
  auto a = operand(input(0), g.a), b = operand(input(1), g.b);
  if (g.type != cpu::Float::f32 || !a || !b || rows == 0 || columns == 0 || batches > limits.batches ||
      rows * columns * k < limits.fewest || (z && rows * k * kBytes > limits.scratch)) {
    return std::nullopt;
  }
  Plan plan;
  Memory y = z ? plan.allocate(rows * k * kBytes) : Memory{};
  int64_t out_size = (g.op == GemmOp::av ? rows : columns) * k;
  for (int64_t i = 0; i < batches; i++) {
    Operand x = *a, v = *b;
    x.memory = moved(x.memory, offset_of(g.a, g.batch, i));
    v.memory = moved(v.memory, offset_of(g.b, g.batch, i));
    Memory out = moved(output(0), i * out_size);
    if (g.op != GemmOp::at_b) {
      plan.steps.push_back(product(x, v, z ? y : out, rows, k, columns));
    }
    if (g.op != GemmOp::av) {
      plan.steps.push_back(product(transposed(x), z ? Operand{y, k, false} : v, out, columns, k, rows));
    }
  }
  return plan;
}

}  // namespace metalfaiss::gpu
