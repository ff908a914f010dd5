#include "gpu/plans/square_svd.h"

#include <algorithm>
#include <string>

#include "square_svd_params.h"

namespace metalfaiss::gpu {

static_assert(kMostSquareSvd == SQUARE_SVD_MOST);

Plan plan_square_svd(int64_t matrices, int64_t n, const SquareSvdTuning& tuning) {
  const int64_t rows = (n + 31) / 32, simds = (n + SQUARE_SVD_COLUMNS - 1) / SQUARE_SVD_COLUMNS;
  const int64_t most = std::min(matrices, tuning.matrices), size = simds * SQUARE_SVD_COLUMNS * 32 * rows;
  Plan plan;
  const Memory scratch = plan.allocate(most * 2 * size * static_cast<int64_t>(sizeof(float)));
  for (int64_t first = 0; first < matrices; first += most) {
    SquareSvdParams p{first, static_cast<int32_t>(n), 0};
    plan.steps.emplace_back(Launch{
        "square_svd",
        "square_svd",
        {{"ROWS", std::to_string(rows)}, {"SIMDS", std::to_string(simds)}},
        {read(input(0)), read_write(scratch), write(output(0)), write(output(1)), read_write(output(2)), bytes_of(p)},
        {std::min(most, matrices - first)},
        {32 * simds}});
  }
  return plan;
}

}  // namespace metalfaiss::gpu
