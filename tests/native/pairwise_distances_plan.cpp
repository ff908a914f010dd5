// The plan of pairwise_distances, and how batches become launches.
#include "gpu/plans/pairwise_distances.h"

#include "pairwise_distances_params.h"
#include "plan_check.h"

using namespace metalfaiss::gpu;

namespace {

PairwiseDistances problem(int64_t nq, int64_t nb, int64_t d) {
  return {"float", "half", nq, nb, d, d, 1, d, 1, {}, true};
}

// The offsets that the kernels compute (metal/include/batch.h) for every matrix of a batch, through its parts.
std::vector<std::pair<int64_t, int64_t>> offsets_of(const Batch& batch, int64_t most) {
  std::vector<std::pair<int64_t, int64_t>> offsets;
  for (const BatchPart& part : parts_of(batch, most)) {
    CHECK(part.first == static_cast<int64_t>(offsets.size()));
    CHECK(part.count <= most || part.count == 1);
    for (int64_t i = 0; i < part.count; i++) {
      int64_t rest = i, a = part.params.a_offset, b = part.params.b_offset;
      for (int dim = BATCH_DIMS - 1; dim >= 0; dim--) {
        a += rest % part.params.shape[dim] * part.params.a_stride[dim];
        b += rest % part.params.shape[dim] * part.params.b_stride[dim];
        rest /= part.params.shape[dim];
      }
      CHECK(rest == 0);
      offsets.emplace_back(a, b);
    }
  }
  return offsets;
}

void test_batches() {
  const std::vector<Batch> batches = {
      {},
      {{1}, {7}, {9}},
      {{5}, {10}, {0}},
      {{2, 3}, {30, 10}, {12, 4}},
      {{2, 3}, {30, 10}, {4, 0}},
      {{3, 2, 4}, {-8, 0, 2}, {0, 40, 10}},
      {{2, 1, 3, 2, 2, 2, 3}, {1, 1000, 20, 0, 7, -3, 0}, {0, 1, 5, 11, 0, 13, 17}},
  };
  for (const Batch& batch : batches) {
    std::vector<std::pair<int64_t, int64_t>> expected{{0, 0}};
    for (size_t i = 0; i < batch.shape.size(); i++) {
      std::vector<std::pair<int64_t, int64_t>> inner;
      for (auto [a, b] : expected) {
        for (int64_t j = 0; j < batch.shape[i]; j++) {
          inner.emplace_back(a + j * batch.a_strides[i], b + j * batch.b_strides[i]);
        }
      }
      expected = inner;
    }
    for (int64_t most : {1, 2, 3, 4, 5, 6, 7, 24, 1000}) {
      CHECK(offsets_of(batch, most) == expected);
    }
  }
  CHECK((Batch{{2, 3}, {30, 10}, {12, 4}}.collapsed().shape == std::vector<int64_t>{6}));
}

void test_grid_covers_the_output() {
  for (int64_t nq : {1, 63, 64, 65, 129}) {
    for (int64_t nb : {1, 64, 130}) {
      Plan plan = plan_pairwise_distances(problem(nq, nb, 9));
      check_plan(plan);
      CHECK(plan.steps.size() == 1 && plan.scratch.empty());
      const auto& launch = std::get<Launch>(plan.steps[0]);
      CHECK(launch.groups.x == (nb + 63) / 64 && launch.groups.y == (nq + 63) / 64 && launch.groups.z == 1);
      CHECK(constant_of(launch, "TQ") == "float" && constant_of(launch, "TB") == "half");
      auto p = params_of<PairwiseDistancesParams>(launch);
      CHECK(p.nq == nq && p.nb == nb && p.d == 9 && p.first_row == 0);
    }
  }
}

void test_large_grids_are_split() {
  PairwiseDistances g = problem(3 * 64 + 1, 10, 4);
  g.most_groups = 2;
  g.batch = {{5}, {1000}, {0}};
  Plan plan = plan_pairwise_distances(g);
  check_plan(plan);
  CHECK(plan.steps.size() == 3 * 2);
  int64_t outputs = 0;
  for (const Launch& launch : launches_of(plan, "pairwise_distances")) {
    auto p = params_of<PairwiseDistancesParams>(launch);
    CHECK(p.out_offset == p.batch.a_offset / 1000 * g.nq * g.nb);
    CHECK(launch.groups.y <= 2 && launch.groups.z <= 2);
    outputs += launch.groups.y * launch.groups.z;
  }
  CHECK(outputs == 4 * 5);
}

void test_huge_shapes() {
  PairwiseDistances g = problem((int64_t{1} << 31) - 1, (int64_t{1} << 31) - 1, 1 << 20);
  g.batch = {{3}, {g.nq * g.d}, {g.nb * g.d}};
  Plan plan = plan_pairwise_distances(g);
  check_plan(plan);
  auto p = params_of<PairwiseDistancesParams>(std::get<Launch>(plan.steps.back()));
  CHECK(p.batch.a_stride[BATCH_DIMS - 1] == g.nq * g.d);
  CHECK(p.out_batch == g.nq * g.nb);
  CHECK(p.first_row == 65535LL * 64 * 511 + 65535 * 64 || p.first_row > (1 << 30));
}

}  // namespace

int main() {
  test_batches();
  test_grid_covers_the_output();
  test_large_grids_are_split();
  test_huge_shapes();
  return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
