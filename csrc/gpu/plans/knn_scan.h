// How a scan passes over the rows (metal/knn_scan.metal).
#pragma once

#include <cstdint>
#include <vector>

namespace metalfaiss::gpu {

// Every step-th tile, but not every skip-th of those unless skip is 0.
struct ScanPass {
  int64_t step, skip, tiles;
};

// Passes that read each tile once, the first of them at most `first`. Each but the first reads at most `growth` times
// what those before it did.
std::vector<ScanPass> scan_passes(int64_t tiles, int64_t first, int64_t growth);

// What a scan's threadgroups have.
struct ScanShape {
  int64_t columns;     // padded
  int64_t simdgroups;  // of a threadgroup
  int64_t tile_rows;
  int64_t threadgroup_bytes;
};

inline constexpr int64_t kScanTileQueries = 64;
inline constexpr int64_t kScanFewRows = 256;      // of metal/knn_scan_few.metal: a tile,
inline constexpr int64_t kScanMostMinima = 1024;  // and keys of a query's sample

ScanShape scan_shape(int64_t d, int64_t simdgroups);

}  // namespace metalfaiss::gpu
