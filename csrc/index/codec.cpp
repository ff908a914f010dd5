#include "index/codec.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/parallel.h"

namespace metalfaiss::index {

namespace {

struct ValueRange {
  float min, max;
};

ValueRange range_of(int64_t n, const float* x) {
  ValueRange r{std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()};
  for (int64_t i = 0; i < n; i++) {
    r.min = x[i] < r.min ? x[i] : r.min;
    r.max = x[i] > r.max ? x[i] : r.max;
  }
  return r;
}

ValueRange mean_and_deviation(float arg, int64_t n, const float* x) {
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < n; i++) {
    sum += x[i];
    squares += x[i] * x[i];
  }
  float mean = static_cast<float>(sum / n);
  float variance = static_cast<float>(squares / n - mean * mean);
  float deviation = variance <= 0 ? 1.0f : std::sqrt(variance);
  return {mean - deviation * arg, mean + deviation * arg};
}

ValueRange quantiles(float arg, int64_t n, const float* x) {
  std::vector<float> sorted(x, x + n);
  std::sort(sorted.begin(), sorted.end());
  int64_t out = static_cast<int64_t>(arg * n);
  out = out < 0 ? 0 : out > n - out ? n / 2 : out;
  return {sorted[out], sorted[n - 1 - out]};
}

// Lloyd's iteration on a grid b, b + a, ..., b + (levels - 1) a: nearest points, then the least squares fit of a and b.
// Sums are float32, as FAISS's are, so that it stops where FAISS does.
ValueRange optimal_grid(int64_t n, int64_t levels, const float* x) {
  constexpr int kIterations = 2000, kStalled = 16;
  ValueRange r = range_of(n, x);
  float sx = 0;
  for (int64_t i = 0; i < n; i++) {
    sx += x[i];
  }
  float b = r.min, a = (r.max - r.min) / (levels - 1), last_error = -1;
  for (int step = 0, stalled = 0; step < kIterations; step++) {
    float sn = 0, sn2 = 0, sxn = 0, error = 0;
    for (int64_t i = 0; i < n; i++) {
      float level = std::floor((x[i] - b) / a + 0.5f);
      level = level < 0 ? 0 : level;
      level = level >= levels ? levels - 1 : level;
      float off = x[i] - (level * a + b);
      error += off * off;
      sn += level;
      sn2 += level * level;
      sxn += level * x[i];
    }
    if (error == last_error) {
      if (++stalled == kStalled) {
        break;
      }
    } else {
      last_error = error;
      stalled = 0;
    }
    float det = sn * sn - sn2 * n;
    b = (sn * sxn - sn2 * sx) / det;
    a = (sn * sx - n * sxn) / det;
  }
  return {b, b + a * (levels - 1)};
}

}  // namespace

std::pair<float, float> train_range(RangeStat stat, float arg, int64_t n, int64_t levels, const float* x) {
  ValueRange r;
  switch (stat) {
    case RangeStat::meanstd:
      r = mean_and_deviation(arg, n, x);
      break;
    case RangeStat::quantiles:
      r = quantiles(arg, n, x);
      break;
    case RangeStat::optim:
      r = optimal_grid(n, levels, x);
      break;
    default: {
      r = range_of(n, x);
      float more = (r.max - r.min) * arg;
      r = {r.min - more, r.max + more};
    }
  }
  return {r.min, r.max - r.min};
}

std::vector<float> train_ranges(RangeStat stat, float arg, int64_t n, int64_t d, int64_t levels, const float* x) {
  constexpr int64_t kAtATime = 16;  // columns: a row is read a cache line at a time
  std::vector<float> out(2 * d);
  cpu::parallel_for((d + kAtATime - 1) / kAtATime, [&](int64_t group) {
    int64_t first = group * kAtATime, count = std::min(kAtATime, d - first);
    std::vector<float> columns(n * count);
    // FAISS takes zeros for the first vector here, except for minmax: so do we, lest codes differ.
    for (int64_t i = stat == RangeStat::minmax ? 0 : 1; i < n; i++) {
      for (int64_t j = 0; j < count; j++) {
        columns[j * n + i] = x[i * d + first + j];
      }
    }
    for (int64_t j = 0; j < count; j++) {
      auto [vmin, vdiff] = train_range(stat, arg, n, levels, columns.data() + j * n);
      out[first + j] = vmin;
      out[d + first + j] = vdiff;
    }
  });
  return out;
}

}  // namespace metalfaiss::index
