#include "gpu/plans/z_step_tensor.h"

#include <algorithm>
#include <string>

#include "gemm_params.h"

namespace metalfaiss::gpu {

namespace {

constexpr int64_t kMostColumns = 512, kMostK = 32, kWidth = 64, kFloat = 4;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

bool takes(const GemmProblem& g) {
  int64_t batches = 1;
  for (int64_t size : g.batch) {
    batches *= size;
  }
  return g.op == GemmOp::z_step && g.type == cpu::Float::f32 && batches == 1 && g.a.rows > 0 && g.a.columns > 0 &&
         g.a.columns <= kMostColumns && g.b.columns <= kMostK && g.a.column_stride == 1 && g.a.aligned &&
         g.a.columns % 4 == 0 && (g.a.rows == 1 || g.a.row_stride % 4 == 0);
}

}  // namespace

std::optional<Plan> plan_z_step_tensor(const GemmProblem& g, const ZStepTensorTuning& tuning) {
  if (!takes(g)) {
    return std::nullopt;
  }
  const int64_t m = g.a.rows, n = g.a.columns, k = g.b.columns;
  const bool is_large = m > 32 * tuning.groups;
  const int64_t simds = ceil_div(n, kWidth), tiles = ceil_div(k, 8);
  const int64_t panel = m > 32 * tuning.small_groups ? 32 : 16;
  const int64_t wanted = is_large ? tuning.groups : tuning.small_groups;
  const int64_t slab = ceil_div(ceil_div(m, panel), wanted) * panel, slabs = ceil_div(m, slab);

  Plan plan;
  const Memory sums = slabs == 1 ? output(0) : plan.allocate(slabs * n * k * kFloat);
  GemmParams p{};
  p.rows = n;
  p.contraction = m;
  p.columns = k;
  p.a_row = g.a.row_stride;
  p.a_column = 1;
  p.b_row = g.b.row_stride;
  p.b_column = g.b.column_stride;
  p.slab = slab;
  p.batches = 1;
  Launch launch{
      "z_step_tensor",
      "z_step_tensor",
      {{"PANEL", std::to_string(panel)}, {"K_TILES", std::to_string(tiles)}, {"SIMDS", std::to_string(simds)}},
      {read(input(0)), read(input(1)), write(sums), bytes_of(p)},
      {slabs},
      {32 * simds}};
  // Two panels, the parts of Y, and Y in two parts.
  launch.threadgroup_bytes = kFloat * (2 * panel * (kWidth * simds + 8) + (simds + 2) * panel * 8 * tiles);
  if (launch.threadgroup_bytes > tuning.threadgroup_bytes) {
    return std::nullopt;
  }
  plan.steps.emplace_back(std::move(launch));
  if (slabs > 1) {
    const int64_t groups = ceil_div(n * k, 32);
    GemmSumParams sum{n * k, static_cast<int32_t>(slabs), static_cast<int32_t>(groups)};
    plan.steps.emplace_back(
        Launch{"gemm", "gemm_sum", {{"T", "float"}}, {read(sums), write(output(0)), bytes_of(sum)}, {groups}, {256}});
  }
  return plan;
}

}  // namespace metalfaiss::gpu
