// What a search returns, and writes where nothing is found.
#pragma once

#include "exact_score.h"

#define LARGEST 3.402823466e38f

// Missing results: from result `found` of a query on.
inline void write_missing(device float* distances, device long* ids, long out, uint found, uint k, uint thread_index,
                          uint threads) {
  for (uint i = found + thread_index; i < k; i += threads) {
    distances[out + long(i)] = L2 ? LARGEST : -LARGEST;
    ids[out + long(i)] = -1;
  }
}

inline void write_result(device float* distances, device long* ids, long out, ulong score, uint row) {
  float s = score_of(score);
  distances[out] = L2 ? s : 0.0f - s;  // never -0
  ids[out] = long(row);
}
