// The plan of z_step on tensor cores: every row in one slab, and memory within bounds.
#include "gpu/plans/z_step_tensor.h"

#include "gemm_params.h"
#include "plan_check.h"

using namespace metalfaiss::gpu;

namespace {

constexpr int64_t kHopper = 227 << 10;

GemmProblem problem(int64_t m, int64_t n, int64_t k) {
  return {GemmOp::z_step, metalfaiss::cpu::Float::f32, {m, n, n, 1}, {n, k, k, 1}};
}

void test_slabs(int64_t m, int64_t n, int64_t k) {
  auto plan = plan_z_step_tensor(problem(m, n, k), {kHopper});
  CHECK(plan.has_value());
  auto launches = launches_of(*plan, "z_step_tensor");
  CHECK(launches.size() == 1);
  const Launch& launch = launches[0];
  auto p = params_of<GemmParams>(launch);
  const int64_t simds = std::stoll(constant_of(launch, "SIMDS"));
  CHECK(p.slab % std::stoll(constant_of(launch, "PANEL")) == 0);
  CHECK(p.slab * launch.groups.x >= m && p.slab * (launch.groups.x - 1) < m);
  CHECK(launch.groups.x <= 132);
  CHECK(64 * simds >= n && 64 * (simds - 1) < n && launch.threads.x == 32 * simds);
  CHECK(8 * std::stoll(constant_of(launch, "K_TILES")) >= k);
  CHECK(launch.threadgroup_bytes <= kHopper && launch.threadgroup_bytes % 16 == 0);
  CHECK(plan->scratch.size() == (launch.groups.x > 1));
  CHECK(plan->scratch.empty() || plan->scratch[0] == launch.groups.x * n * k * 4);
}

void test_what_it_leaves() {
  auto takes = [](const GemmProblem& p, int64_t bytes = kHopper) { return plan_z_step_tensor(p, {bytes}).has_value(); };
  GemmProblem good = problem(1000, 64, 8), half = good, product = good, many = good, odd = good, reversed = good;
  CHECK(takes(good));
  CHECK(!takes(good, 8 << 10));
  half.type = metalfaiss::cpu::Float::f16;
  product.op = GemmOp::av;
  many.batch = {2};
  many.a.batch_strides = many.b.batch_strides = {0};
  odd.a.aligned = false;
  reversed.a.column_stride = -1;
  for (const GemmProblem& p : {half, product, many, odd, reversed, problem(1000, 516, 8), problem(1000, 64, 33),
                               problem(1000, 66, 8), problem(0, 64, 8)}) {
    CHECK(!takes(p));
  }
}

}  // namespace

int main() {
  for (int64_t m : {int64_t{1}, int64_t{17}, int64_t{512}, int64_t{5000}, int64_t{1000000}, int64_t{3} << 31}) {
    for (int64_t n : {4, 64, 260, 512}) {
      for (int64_t k : {1, 8, 32}) {
        test_slabs(m, n, k);
      }
    }
  }
  test_what_it_leaves();
  return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
