// What the passes of a scan share: which rows they read, how rows are loaded, and what becomes of a score.
#pragma once

#include "elements.h"
#include "exact_score.h"
#include "knn_scan_params.h"
#include "ordering.h"

#ifndef VECTORS
#define VECTORS 0  // 1: rows are read four columns at once; 2: eight, of 16 bits, in knn_scan_few
#endif

// The index of the pass's i-th tile.
inline uint tile_of_pass(uint i, constant KnnScanParams& p) {
  return (p.skip == 0 ? i : i + i / uint(p.skip - 1) + 1u) * uint(p.step);
}

// The i-th row of a tile: eight neighbours from each of many places, so that any tile is a sample of all rows.
inline uint row_of_tile(uint tile, uint i, constant KnnScanParams& p) {
  return i / 8u * (uint(p.tiles) * 8u) + tile * 8u + i % 8u;
}

// Columns c to c + 3 of a row: 0 behind the last.
inline float4 load_columns(device const T* row, int c, constant KnnScanParams& p) {
  float4 x = float4(0.0f);
#if VECTORS
  if (c < p.d) {
    x = load_elements4((device const uchar*)(row + c), element_type(row));
  }
#else
  long at = long(c) * p.b_col;
  x.x = c < p.d ? float(row[at]) : 0.0f;
  x.y = c + 1 < p.d ? float(row[at + p.b_col]) : 0.0f;
  x.z = c + 2 < p.d ? float(row[at + 2 * p.b_col]) : 0.0f;
  x.w = c + 3 < p.d ? float(row[at + 3 * p.b_col]) : 0.0f;
#endif
  return x;
}

// Puts a pair that is below the threshold behind those on its query's list. What finds no room is counted.
inline void add_pair(ulong pair, uint query, uint threshold, device ulong* lists, device atomic_uint* counts,
                     constant KnnScanParams& p) {
  if (key_of(pair) < threshold) {
    uint at = atomic_fetch_add_explicit(counts + query, 1u, memory_order_relaxed);
    if (at < uint(p.capacity)) {
      lists[long(query) * long(p.capacity) + long(at)] = pair;
    }
  }
}
