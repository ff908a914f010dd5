// Where the matrices of a batch begin.
#pragma once

#include "batch_params.h"

struct BatchOffsets {
  long a, b;  // in elements
};

inline BatchOffsets batch_offsets(constant BatchParams& p, uint batch) {
  BatchOffsets at;
  at.a = p.a_offset;
  at.b = p.b_offset;
  uint rest = batch;
  for (int i = BATCH_DIMS - 1; i >= 0; i--) {
    uint size = uint(p.shape[i]), index = rest % size;
    rest /= size;
    at.a += long(index) * p.a_stride[i];
    at.b += long(index) * p.b_stride[i];
  }
  return at;
}
