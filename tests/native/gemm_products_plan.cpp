// Products as an executor's own matrix products: the steps, computed one after the other, are the operation.
#include "gpu/plans/gemm_products.h"

#include <cmath>
#include <vector>

#include "check.h"

using namespace metalfaiss::gpu;
using metalfaiss::cpu::failures;
using metalfaiss::cpu::Float;
using metalfaiss::cpu::normal;
using metalfaiss::cpu::simd_level;
using metalfaiss::cpu::simd_level_name;

namespace {

using Values = std::vector<float>;

struct Memories {
  Values a, b, out;
  std::vector<Values> scratch;

  float* at(const Memory& m) {
    using Kind = Memory::Kind;
    Values& values = m.kind == Kind::scratch ? scratch[m.index] : m.kind == Kind::output ? out : m.index == 0 ? a : b;
    return values.data() + m.offset / sizeof(float);
  }
};

void run(const Product& p, Memories& memories) {
  const float *a = memories.at(p.a), *b = memories.at(p.b);
  float* out = memories.at(p.out);
  for (int64_t i = 0; i < p.m; i++) {
    for (int64_t j = 0; j < p.n; j++) {
      double sum = 0;
      for (int64_t l = 0; l < p.k; l++) {
        double x = p.a_transposed ? a[l * p.a_stride + i] : a[i * p.a_stride + l];
        sum += x * (p.b_transposed ? b[j * p.b_stride + l] : b[l * p.b_stride + j]);
      }
      out[i * p.n + j] = static_cast<float>(sum);
    }
  }
}

float element(const Values& values, const GemmOperand& x, int64_t batch, int64_t i, int64_t j) {
  int64_t at = (x.batch_strides.empty() ? 0 : batch * x.batch_strides[0]) + i * x.row_stride + j * x.column_stride;
  return values[at];
}

double expected(const GemmProblem& g, const Memories& m, int64_t batch, int64_t i, int64_t j) {
  auto a = [&](int64_t r, int64_t c) { return double{element(m.a, g.a, batch, r, c)}; };
  auto b = [&](int64_t r, int64_t c) { return double{element(m.b, g.b, batch, r, c)}; };
  double sum = 0;
  if (g.op == GemmOp::av) {
    for (int64_t l = 0; l < g.a.columns; l++) {
      sum += a(i, l) * b(l, j);
    }
    return sum;
  }
  for (int64_t r = 0; r < g.a.rows; r++) {
    double right = g.op == GemmOp::at_b ? b(r, j) : 0;
    for (int64_t l = 0; l < g.a.columns && g.op == GemmOp::z_step; l++) {
      right += a(r, l) * b(l, j);
    }
    sum += a(r, i) * right;
  }
  return sum;
}

// A matrix stored by rows or columns that lie `gap` apart.
GemmOperand stored(int64_t rows, int64_t columns, bool by_columns, int64_t gap, int64_t batches) {
  GemmOperand x{rows, columns, by_columns ? 1 : columns + gap, by_columns ? rows + gap : 1};
  if (batches > 1) {
    x.batch_strides = {(rows + gap) * (columns + gap)};
  }
  return x;
}

constexpr GemmOp kOps[] = {GemmOp::av, GemmOp::at_b, GemmOp::z_step};

void test_values(GemmOp op, bool a_columns, bool b_columns, int64_t gap, int64_t batches) {
  constexpr int64_t m = 7, n = 5, k = 3;
  GemmProblem g{op, Float::f32, stored(m, n, a_columns, gap, batches),
                stored(op == GemmOp::at_b ? m : n, k, b_columns, gap, batches)};
  if (batches > 1) {
    g.batch = {batches};
    g.b.batch_strides = {batches == 2 ? 0 : g.b.batch_strides[0]};  // broadcast, or not
  }
  auto plan = plan_gemm_products(g, {.fewest = 0});
  CHECK(plan.has_value());
  int64_t rows = op == GemmOp::av ? m : n;
  Memories memories{normal(batches * (m + gap) * (n + gap), 1),
                    normal(batches * (m + gap) * (n + gap), 2),
                    Values(batches * rows * k, NAN),
                    {}};
  for (int64_t bytes : plan->scratch) {
    memories.scratch.emplace_back(bytes / sizeof(float), NAN);
  }
  for (const Step& step : plan->steps) {
    CHECK(!std::get<Product>(step).tf32);
    run(std::get<Product>(step), memories);
  }
  for (int64_t batch = 0; batch < batches; batch++) {
    for (int64_t i = 0; i < rows; i++) {
      for (int64_t j = 0; j < k; j++) {
        CHECK(std::abs(memories.out[(batch * rows + i) * k + j] - expected(g, memories, batch, i, j)) < 1e-4);
      }
    }
  }
}

void test_what_it_leaves(GemmOp op) {
  auto problem = [&](int64_t m, int64_t n, int64_t k) {
    return GemmProblem{op, Float::f32, stored(m, n, false, 0, 1), stored(op == GemmOp::at_b ? m : n, k, false, 0, 1)};
  };
  CHECK(plan_gemm_products(problem(1000, 1000, 8)));
  CHECK(!plan_gemm_products(problem(100, 100, 8)));
  CHECK(!plan_gemm_products(problem(0, 1000, 8), {.fewest = 0}));
  CHECK(!plan_gemm_products(problem(1000, 0, 8), {.fewest = 0}));
  CHECK(plan_gemm_products(problem(int64_t{1} << 30, 1000, 8)).has_value() == (op != GemmOp::z_step));
  GemmProblem half = problem(1000, 1000, 8), reversed = half, gathered = half, many = half;
  half.type = Float::f16;
  CHECK(!plan_gemm_products(half));
  reversed.a.row_stride = -1000;
  CHECK(!plan_gemm_products(reversed));
  gathered.b.column_stride = 2;
  gathered.b.row_stride = 16;
  CHECK(!plan_gemm_products(gathered));
  many.batch = {17};
  many.a.batch_strides = many.b.batch_strides = {0};
  CHECK(!plan_gemm_products(many));
}

}  // namespace

int main() {
  for (GemmOp op : kOps) {
    for (int i = 0; i < 24; i++) {
      test_values(op, i & 1, i & 2, i & 4 ? 2 : 0, 1 + i / 8);
    }
    test_what_it_leaves(op);
  }
  return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
