// Vectors to codes and back.
#pragma once

#include "cpu/dispatch.h"
#include "cpu/row_codec.h"

namespace metalfaiss::cpu {

// n vectors of codec.d float32 each, and their codes; both row-contiguous.
struct EncodeArgs {
  RowCodec codec;
  int64_t n;
  const float* x;
  uint8_t* codes;
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
