// The plan of square_svd: every matrix once, in launches of bounded scratch.
#include "gpu/plans/square_svd.h"

#include "plan_check.h"
#include "square_svd_params.h"

using namespace metalfaiss::gpu;

int main() {
  for (int64_t n = 1; n <= kMostSquareSvd; n++) {
    for (int64_t matrices : {1, 7, 10}) {
      const Plan plan = plan_square_svd(matrices, n, {4});
      int64_t done = 0;
      for (const Launch& launch : launches_of(plan, "square_svd")) {
        auto p = params_of<SquareSvdParams>(launch);
        CHECK(p.first_matrix == done && p.n == n);
        done += launch.groups.x;
        const int64_t rows = 32 * std::stoll(constant_of(launch, "ROWS"));
        const int64_t columns = SQUARE_SVD_COLUMNS * std::stoll(constant_of(launch, "SIMDS"));
        CHECK(rows >= n && columns >= n && launch.threads.x == 4 * columns);
        CHECK(plan.scratch[0] >= launch.groups.x * 2 * rows * columns * 4);
      }
      CHECK(done == matrices);
    }
  }
  return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
