#include "gpu/plans/pairwise_distances.h"

#include <algorithm>

#include "pairwise_distances_params.h"

namespace metalfaiss::gpu {

namespace {

constexpr int64_t kTile = 64;  // of metal/pairwise_distances.metal
constexpr int64_t kThreads = 256;

int64_t tiles(int64_t n) {
  return (n + kTile - 1) / kTile;
}

}  // namespace

Plan plan_pairwise_distances(const PairwiseDistances& g) {
  Plan plan;
  for (const BatchPart& part : parts_of(g.batch, g.most_groups)) {
    for (int64_t row = 0; row < g.nq; row += g.most_groups * kTile) {
      PairwiseDistancesParams params{};
      params.batch = part.params;
      params.out_batch = g.nq * g.nb;
      params.out_offset = part.first * params.out_batch;
      params.q_row = g.q_row;
      params.q_col = g.q_col;
      params.b_row = g.b_row;
      params.b_col = g.b_col;
      params.nq = static_cast<int32_t>(g.nq);
      params.nb = static_cast<int32_t>(g.nb);
      params.d = static_cast<int32_t>(g.d);
      params.first_row = static_cast<int32_t>(row);
      int64_t rows = std::min(g.nq - row, g.most_groups * kTile);
      plan.steps.push_back(Launch{"pairwise_distances",
                                  "pairwise_distances",
                                  {{"TQ", g.q_type}, {"TB", g.b_type}, {"L2", g.l2 ? "1" : "0"}},
                                  {read(input(0)), read(input(1)), write(output(0)), bytes_of(params)},
                                  {tiles(g.nb), tiles(rows), part.count},
                                  {kThreads, 1, 1}});
    }
  }
  return plan;
}

}  // namespace metalfaiss::gpu
