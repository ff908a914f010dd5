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

// Of z_step_half.metal: five panels of 16 rows, two of the parts of Y, two of Y in two parts, and a few numbers.
int64_t half_bytes(int64_t simds, int64_t tiles) {
  const int64_t panels = 5 * 16 * (2 * kWidth * simds + 8) * 2, parts = 2 * simds * tiles * 32 * 4 * kFloat;
  const int64_t y = 2 * 2 * 8 * tiles * 24 * 2, numbers = 8 * tiles + 4 * (simds + tiles) + 1 + 16;
  return ceil_div(panels + parts + y + numbers * kFloat, 16) * 16;
}

// Of z_step_tensor.metal: two panels, the parts of Y, and Y in two parts.
int64_t tensor_bytes(int64_t simds, int64_t tiles, int64_t panel) {
  return kFloat * (2 * panel * (kWidth * simds + 8) + (simds + 2) * panel * 8 * tiles);
}

GemmParams params_of(const GemmProblem& g, int64_t slab) {
  GemmParams p{};
  p.rows = g.a.columns;
  p.contraction = g.a.rows;
  p.columns = g.b.columns;
  p.a_row = g.a.row_stride;
  p.a_column = 1;
  p.b_row = g.b.row_stride;
  p.b_column = g.b.column_stride;
  p.slab = slab;
  p.batches = 1;
  return p;
}

}  // namespace

std::optional<Plan> plan_z_step_tensor(const GemmProblem& g, const ZStepTensorTuning& tuning) {
  if (!takes(g)) {
    return std::nullopt;
  }
  const int64_t m = g.a.rows, n = g.a.columns, k = g.b.columns;
  const int64_t simds = ceil_div(n, kWidth), tiles = ceil_div(k, 8), half_tiles = tiles <= 2 ? 2 : 4;
  const int64_t half = half_bytes(simds, half_tiles);
  const bool is_large = m > 32 * tuning.multiprocessors, is_half = is_large && half <= tuning.threadgroup_bytes;
  const int64_t panel = m > 32 * tuning.small_groups ? 32 : 16, bytes = tensor_bytes(simds, tiles, panel);
  if (bytes > tuning.threadgroup_bytes) {
    return std::nullopt;
  }
  // A threadgroup of either kernel fills a multiprocessor where n is large.
  const int64_t wanted = !is_large ? tuning.small_groups : tuning.multiprocessors * (is_half ? 8 / simds : 1);
  const int64_t slab = ceil_div(ceil_div(m, panel), wanted) * panel, slabs = ceil_div(m, slab);

  Plan plan;
  const Memory sums = slabs == 1 ? output(0) : plan.allocate(slabs * n * k * kFloat);
  const GemmParams p = params_of(g, slab);
  const std::vector<Constant> constants{
      {"PANEL", std::to_string(panel)}, {"K_TILES", std::to_string(tiles)}, {"SIMDS", std::to_string(simds)}};
  if (is_half) {
    const Memory flags = plan.allocate(slabs * kFloat);
    plan.steps.emplace_back(Launch{"z_step_half",
                                   "z_step_half",
                                   {{"K_TILES", std::to_string(half_tiles)}, {"SIMDS", std::to_string(simds)}},
                                   {read(input(0)), read(input(1)), write(sums), write(flags), bytes_of(p)},
                                   {slabs},
                                   {64 * simds},
                                   half});
    plan.steps.emplace_back(Launch{"z_step_tensor",
                                   "z_step_repair",
                                   constants,
                                   {read(input(0)), read(input(1)), read_write(sums), read(flags), bytes_of(p)},
                                   {slabs},
                                   {32 * simds},
                                   bytes});
  } else {
    plan.steps.emplace_back(Launch{"z_step_tensor",
                                   "z_step_tensor",
                                   constants,
                                   {read(input(0)), read(input(1)), write(sums), bytes_of(p)},
                                   {slabs},
                                   {32 * simds},
                                   bytes});
  }
  if (slabs > 1) {
    const int64_t groups = ceil_div(n * k, 32);
    GemmSumParams sum{n * k, static_cast<int32_t>(slabs), static_cast<int32_t>(groups)};
    plan.steps.emplace_back(
        Launch{"gemm", "gemm_sum", {{"T", "float"}}, {read(sums), write(output(0)), bytes_of(sum)}, {groups}, {256}});
  }
  return plan;
}

}  // namespace metalfaiss::gpu
