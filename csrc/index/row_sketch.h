// What cpu::knn_sketch knows of rows.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cpu/knn_sketch.h"

namespace metalfaiss::index {

class RowSketch {
 public:
  // Of contiguous rows (n, d). Null if one of them is not finite, or too long, or if there are no dimensions.
  static std::shared_ptr<const RowSketch> of(const float* rows, int64_t n, int64_t d);

  cpu::Sketch view() const;

 private:
  RowSketch(const float* rows, int64_t n, int64_t d);
  bool add(const float* row, int64_t i, int64_t d);

  int64_t stride_;
  bool known_;
  std::vector<int8_t> codes_;
  std::vector<float> center_, scale_, error_, length_, norm2_;
  std::vector<int32_t> sum_;
};

}  // namespace metalfaiss::index
