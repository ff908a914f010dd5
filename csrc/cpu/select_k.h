// The k smallest or largest values of every row, best first.
#pragma once

#include "cpu/dispatch.h"
#include "cpu/matrix.h"

namespace metalfaiss::cpu {

struct SelectKArgs {
  const void* x;
  Float type;
  int64_t rows, n, k;  // 1 <= k <= n < 2^31
  int64_t stride;      // between the values of a row, in elements

  // Where a row starts: the dimensions before the last, with their strides in elements.
  int batch_dims;
  const int32_t* batch_shape;
  const int64_t* batch_strides;

  bool largest;
  void* values;      // (rows, k), of type `type`
  int64_t* indices;  // (rows, k)
};

// Scratch of a thread: 16 bytes for each of max(2 k, 256) candidates, and 32 KB; it does not grow with n.
METALFAISS_KERNEL(select_k, SelectKArgs)

}  // namespace metalfaiss::cpu
