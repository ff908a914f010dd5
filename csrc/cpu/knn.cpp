#include "cpu/knn.h"

#include "cpu/knn_exact.h"
#include "cpu/parallel.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

void knn(const KnnArgs& args) {
  const Matrix& b = args.database;
  int64_t d = b.cols, kept = args.k < b.rows ? args.k : b.rows;
  const float* queries = static_cast<const float*>(args.queries.data);
  parallel_for(args.queries.rows, [&](int64_t i) {
    TopK top(static_cast<Scored*>(thread_scratch(Scratch::candidates, kept * sizeof(Scored) + 1)), kept);
    float* row = static_cast<float*>(thread_scratch(Scratch::partial, d * sizeof(float) + 1));
    for (int64_t j = 0; j < b.rows; j++) {
      double score = exact_score(queries + i * d, float_row(b, j, row), d, args.inner_product);
      if (is_result(score)) {
        top.push({score, j});
      }
    }
    top.sort();
    write_results(top, args.k, args.inner_product, args.distances + i * args.k, args.ids + i * args.k);
  });
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
