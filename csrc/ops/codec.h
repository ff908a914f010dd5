// Codes of vectors as MLX operations, and exact search of them.
#pragma once

#include <utility>
#include <vector>

#include "index/codec.h"
#include "mlx/array.h"
#include "mlx/utils.h"
#include "ops/metric.h"

namespace metalfaiss::ops {

namespace mx = mlx::core;

// Codes (n, code size), uint8, of vectors (n, d), float32.
mx::array encode(const mx::array& x, const index::CodecPtr& codec, mx::StreamOrDevice s = {});
// The same of memory, at once, on the calling thread and those of parallel_for. Where `lists` (n,) are given, of the
// differences to the centroids (nlist, d) of those.
std::vector<uint8_t> encode_now(const float* x, int64_t n, const index::Codec& codec, const float* centroids,
                                int64_t nlist, const int64_t* lists);
// Vectors (n, d), float32, of codes (n, code size), uint8.
mx::array decode(const mx::array& codes, const index::CodecPtr& codec, mx::StreamOrDevice s = {});
// Distances (nq, k) and ids (nq, k) of the codes nearest to queries (nq, d), as `knn` of the decoded vectors.
std::pair<mx::array, mx::array> knn_codes(const mx::array& xq, const mx::array& codes, const index::CodecPtr& codec,
                                          int64_t k, Metric metric, mx::StreamOrDevice s = {});

}  // namespace metalfaiss::ops
