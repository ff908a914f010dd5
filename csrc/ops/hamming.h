// Hamming distances between binary codes, rows of bytes: the nearest, those within a radius, and all of them.
#pragma once

#include <optional>
#include <tuple>
#include <utility>

#include "ops/common.h"

namespace metalfaiss::ops {

// Distances (..., nq, k), int32, and ids (..., nq, k), int64, for uint8 codes xq (..., nq, bytes) and xb (..., nb,
// bytes). `rows`, ascending int64 (m,), restricts the search to these rows of xb, which then has no batch dimensions.
std::pair<mx::array, mx::array> knn_hamming(const mx::array& xq, const mx::array& xb, int64_t k,
                                            const std::optional<mx::array>& rows, mx::StreamOrDevice s = {});

// All distances, (..., nq, nb), int32.
mx::array hammings(const mx::array& xq, const mx::array& xb, mx::StreamOrDevice s = {});

// What is nearer than `radius` of matrices xq and xb: where the results of each query begin, int64 (nq + 1,), their
// distances, float32, and ids, int64, in ascending order. How many there are is known only afterwards, so this
// evaluates its inputs and runs at once.
std::tuple<mx::array, mx::array, mx::array> range_search_hamming(const mx::array& xq, const mx::array& xb,
                                                                 int64_t radius, const std::optional<mx::array>& rows);

}  // namespace metalfaiss::ops
