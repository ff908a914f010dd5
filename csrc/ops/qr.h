// Thin QR.
#pragma once

#include <utility>

#include "ops/common.h"

namespace metalfaiss::ops {

// Q (..., m, k) and R (..., k, n) of A (..., m, n), k = min(m, n), with R's diagonal >= 0.
std::pair<mx::array, mx::array> qr(const mx::array& a, mx::StreamOrDevice s = {});

}  // namespace metalfaiss::ops
