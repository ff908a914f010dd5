// The k smallest or largest values along the last axis.
#pragma once

#include <utility>

#include "ops/common.h"

namespace metalfaiss::ops {

// Values and int64 indices (..., k) of the k smallest (or largest) of x (..., n), best first; ties to the lower index.
std::pair<mx::array, mx::array> select_k(const mx::array& x, int k, bool largest = false, mx::StreamOrDevice s = {});

}  // namespace metalfaiss::ops
