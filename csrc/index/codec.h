// How an index codes its vectors, with what it learned; and how that is learned.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <vector>

#include "cpu/row_codec.h"

namespace metalfaiss::index {

struct Codec {
  cpu::CodeType type;
  int64_t d;
  std::vector<float> vmin, vdiff;  // of each dimension, where the type has them

  int64_t code_size() const { return view().code_size(); }
  cpu::RowCodec view() const { return {type, d, vmin.data(), vdiff.data()}; }
};

using CodecPtr = std::shared_ptr<const Codec>;

// How the range of a component is learned, with FAISS's numbers; `arg` is FAISS's rangestat_arg.
enum class RangeStat { minmax, meanstd, quantiles, optim };

// The range of n values for `levels` levels: {vmin, vmax - vmin}.
std::pair<float, float> train_range(RangeStat stat, float arg, int64_t n, int64_t levels, const float* x);

// The ranges of each of d components of n vectors: d minima, then d widths.
std::vector<float> train_ranges(RangeStat stat, float arg, int64_t n, int64_t d, int64_t levels, const float* x);

}  // namespace metalfaiss::index
