// Vectors to codes and back.
#pragma once

#include "cpu/dispatch.h"
#include "cpu/row_codec.h"

namespace metalfaiss::cpu {

// n vectors of codec.d float32 each, and their codes; both row-contiguous. Where lists are given, what is coded is the
// difference to the centroid of each vector's list; of one without a list, which has a negative number, any.
struct EncodeArgs {
  RowCodec codec;
  int64_t n;
  const float* x;
  uint8_t* codes;
  const float* centroids;  // (lists, codec.d), row-contiguous; or null
  const int64_t* lists;    // n, or null
};

struct DecodeArgs {
  RowCodec codec;
  int64_t n;
  const uint8_t* codes;
  float* x;
};

METALFAISS_KERNEL(scalar_encode, EncodeArgs)
METALFAISS_KERNEL(scalar_decode, DecodeArgs)

}  // namespace metalfaiss::cpu
