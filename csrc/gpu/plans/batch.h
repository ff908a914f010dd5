// The matrices of two operands whose batch dimensions broadcast together, as few strided dimensions.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "batch_params.h"

namespace metalfaiss::gpu {

// Batch dimensions of a result, outermost first, and both operands' strides along them in elements, 0 where broadcast.
struct Batch {
  std::vector<int64_t> shape, a_strides, b_strides;

  int64_t size() const;
  // The same without dimensions of 1, and with those merged that have one stride together.
  Batch collapsed() const;
};

// A part of a batch that one launch handles: matrices [first, first + count) of the result.
struct BatchPart {
  BatchParams params;
  int64_t first, count;
};

// Splits a batch that is not empty into parts of at most `most` matrices.
std::vector<BatchPart> parts_of(const Batch& batch, int64_t most);

}  // namespace metalfaiss::gpu
