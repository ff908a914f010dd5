// How the matrices of two operands that broadcast together lie behind each other: the innermost batch dimensions, in
// elements. What is beyond BATCH_DIMS dimensions is left to several launches.
#pragma once

#define BATCH_DIMS 4

struct BatchParams {
  int64_t a_stride[BATCH_DIMS];  // outermost first
  int64_t b_stride[BATCH_DIMS];
  int64_t a_offset, b_offset;
  int32_t shape[BATCH_DIMS];  // of the result; 1 where there is no such dimension
};
