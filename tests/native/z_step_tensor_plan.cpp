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

const Launch& only(const std::vector<Launch>& launches) {
  CHECK(launches.size() == 1);
  return launches[0];
}

void test_slabs(int64_t m, int64_t n, int64_t k, int64_t bytes) {
  auto plan = plan_z_step_tensor(problem(m, n, k), {bytes});
  CHECK(plan.has_value());
  auto halves = launches_of(*plan, "z_step_half"), repairs = launches_of(*plan, "z_step_repair");
  const bool is_half = !halves.empty();
  CHECK(is_half == (m > 32 * 132 && (bytes == kHopper || n < 512)) && halves.size() == repairs.size());
  auto launches = is_half ? repairs : launches_of(*plan, "z_step_tensor");
  const Launch& launch = only(launches);
  auto p = params_of<GemmParams>(launch);
  const int64_t simds = std::stoll(constant_of(launch, "SIMDS")), groups = launch.groups.x;
  CHECK(p.slab % std::stoll(constant_of(launch, "PANEL")) == 0);
  CHECK(p.slab * groups >= m && p.slab * (groups - 1) < m);
  CHECK(groups <= 132 * (is_half ? 8 / simds : 1));
  CHECK(64 * simds >= n && 64 * (simds - 1) < n && launch.threads.x == 32 * simds);
  CHECK(8 * std::stoll(constant_of(launch, "K_TILES")) >= k);
  CHECK(launch.threadgroup_bytes <= bytes && launch.threadgroup_bytes % 16 == 0);
  CHECK(plan->scratch.size() == size_t{groups > 1} + is_half);
  CHECK(groups == 1 || plan->scratch[0] == groups * n * k * 4);
  if (is_half) {
    const Launch& half = only(halves);
    CHECK(half.groups.x == groups && half.threads.x == 64 * simds && params_of<GemmParams>(half).slab == p.slab);
    CHECK(half.threadgroup_bytes <= bytes && half.threadgroup_bytes % 16 == 0);
    const int64_t tiles = std::stoll(constant_of(half, "K_TILES"));
    CHECK((tiles == 2 || tiles == 4) && 8 * tiles >= k && constant_of(half, "SIMDS") == std::to_string(simds));
    CHECK(plan->scratch[1] == groups * 4);
  }
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
        test_slabs(m, n, k, kHopper);
        test_slabs(m, n, k, 175 << 10);
      }
    }
  }
  test_what_it_leaves();
  return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
