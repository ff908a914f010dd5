#include "index/row_sketch.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "cpu/parallel.h"

namespace metalfaiss::index {

namespace {

constexpr int kMost = 127;
constexpr int64_t kRows = 64;  // of a task

float rounded_up(double x) {
  return std::nextafter(static_cast<float>(x), std::numeric_limits<float>::max());
}

// The mean, as far as float32 goes: any centre will do.
std::vector<float> mean(const float* rows, int64_t n, int64_t d) {
  std::vector<double> sum(d);
  for (int64_t i = 0; i < n; i++) {
    for (int64_t p = 0; p < d; p++) {
      sum[p] += rows[i * d + p];
    }
  }
  std::vector<float> out(d);
  std::transform(sum.begin(), sum.end(), out.begin(), [n](double x) { return static_cast<float>(x / double(n)); });
  return out;
}

}  // namespace

std::shared_ptr<const RowSketch> RowSketch::of(const float* rows, int64_t n, int64_t d) {
  if (n == 0 || d == 0 || d > cpu::kSketchLongest) {
    return nullptr;
  }
  std::shared_ptr<const RowSketch> made(new RowSketch(rows, n, d));
  return made->known_ ? made : nullptr;
}

RowSketch::RowSketch(const float* rows, int64_t n, int64_t d)
    : stride_((d + cpu::kSketchGroup - 1) / cpu::kSketchGroup * cpu::kSketchGroup),
      codes_(n * stride_),
      center_(mean(rows, n, d)),
      scale_(n),
      error_(n),
      length_(n),
      norm2_(n),
      sum_(n) {
  std::atomic<bool> known = true;
  cpu::parallel_for((n + kRows - 1) / kRows, [&](int64_t task) {
    for (int64_t i = task * kRows; i < std::min(n, (task + 1) * kRows); i++) {
      if (!add(rows + i * d, i, d)) {
        known = false;
      }
    }
  });
  known_ = known;
}

bool RowSketch::add(const float* row, int64_t i, int64_t d) {
  double own2 = 0, norm2 = 0, error2 = 0, peak = 0;
  for (int64_t p = 0; p < d; p++) {
    double x = static_cast<double>(row[p]) - center_[p];
    own2 += static_cast<double>(row[p]) * row[p];
    norm2 += x * x;
    peak = std::max(peak, std::abs(x));
  }
  if (!(own2 < cpu::kSketchLargestNorm * cpu::kSketchLargestNorm) || !(norm2 < 4 * own2 + 1e30)) {
    return false;
  }
  scale_[i] = peak > 1e-30 ? static_cast<float>(peak / kMost) : 1.0f;
  for (int64_t p = 0; p < d; p++) {
    double x = static_cast<double>(row[p]) - center_[p];
    double code = std::clamp(std::rint(x / scale_[i]), -double(kMost), double(kMost));
    codes_[i * stride_ + p] = static_cast<int8_t>(code);
    sum_[i] += static_cast<int32_t>(code);
    double left = x - scale_[i] * code;
    error2 += left * left;
  }
  error_[i] = rounded_up(std::sqrt(error2));
  length_[i] = rounded_up(std::sqrt(norm2));
  norm2_[i] = static_cast<float>(norm2);
  return true;
}

cpu::Sketch RowSketch::view() const {
  return {codes_.data(), stride_,        center_.data(), scale_.data(),
          error_.data(), length_.data(), norm2_.data(),  sum_.data()};
}

}  // namespace metalfaiss::index
