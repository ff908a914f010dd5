#include "gpu/plans/knn_scan.h"

#include <algorithm>

namespace metalfaiss::gpu {

namespace {

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// base^n, or more than `most`.
int64_t power(int64_t base, int64_t n, int64_t most) {
  int64_t out = 1;
  for (int64_t i = 0; i < n && out <= most; i++) {
    out *= base;
  }
  return out;
}

}  // namespace

std::vector<ScanPass> scan_passes(int64_t tiles, int64_t first, int64_t growth) {
  int64_t step = ceil_div(tiles, std::max<int64_t>(1, first)), more = 0, ratio = 2;
  if (step <= 1) {
    return {{1, 0, tiles}};
  }
  while (power(std::max<int64_t>(growth, 2), more, step) < step) {
    more++;
  }
  while (power(ratio, more, step) < step) {
    ratio++;
  }
  std::vector<ScanPass> passes;
  for (int64_t n = more; n >= 0; n--) {
    step = power(ratio, n, tiles * ratio);
    int64_t all = ceil_div(tiles, step);
    passes.push_back(n == more ? ScanPass{step, 0, all} : ScanPass{step, ratio, all - ceil_div(tiles, step * ratio)});
  }
  return passes;
}

ScanShape scan_shape(int64_t d, int64_t simdgroups) {
  int64_t columns = ceil_div(d, 32) * 32, rows = simdgroups * (columns <= 128 ? 32 : 16);
  int64_t bytes = 2 * (columns + 8) * 2 * kScanTileQueries + 16 * rows + 16 * kScanTileQueries + 512 * simdgroups;
  return {columns, simdgroups, rows, bytes};
}

}  // namespace metalfaiss::gpu
