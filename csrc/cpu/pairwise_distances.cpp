// Sums of (q - b)^2, never |q|^2 - 2 q.b + |b|^2: every distance keeps its digits, however near the vectors are to each
// other and however far from the origin. A difference costs an addition beside the multiply-add; on cores that have
// units for both, the pace is that of a matrix product.
#include "cpu/pairwise_distances.h"

#include "cpu/pairwise_panels.h"
#include "cpu/pairwise_rows.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

constexpr int64_t kPanelsFrom = 16;  // vectors on both sides, for the panels' transposition to pay

using Task = void (*)(const PairwiseDistancesArgs&, int64_t, int64_t, int64_t, int64_t);

// Cuts the distances into blocks.
void in_blocks(const PairwiseDistancesArgs& g, int64_t queries, int64_t vectors, Task task) {
  const int64_t down = (g.q.rows + queries - 1) / queries, across = (g.b.rows + vectors - 1) / vectors;
  parallel_for(down * across, [&](int64_t t) {
    int64_t i = t % down * queries, j = t / down * vectors;
    task(g, i, g.q.rows - i < queries ? g.q.rows - i : queries, j, g.b.rows - j < vectors ? g.b.rows - j : vectors);
  });
}

}  // namespace

void pairwise_distances(const PairwiseDistancesArgs& g) {
  if (g.q.cols == 0) {
    __builtin_memset(g.out, 0, sizeof(float) * g.q.rows * g.b.rows);
  } else if (g.q.rows < kPanelsFrom || g.b.rows < kPanelsFrom) {
    in_blocks(g, kRowsQueries, kRowsVectors, g.l2 ? distances_along_rows<true> : distances_along_rows<false>);
  } else {
    in_blocks(g, kPanelsQueries, kPanelsVectors, g.l2 ? distances_on_panels<true> : distances_on_panels<false>);
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
