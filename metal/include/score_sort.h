// Lists of exact scores and their rows in device memory: of any length, and ordered by (score, row). A threadgroup owns
// its list.
#pragma once

#include "ordering.h"

#define NO_ROW 0xffffffffu

struct ScoreList {
  device ulong* scores;
  device uint* rows;
};

inline bool is_nearer(ulong score, uint row, ulong other_score, uint other_row) {
  return score < other_score || (score == other_score && row < other_row);
}

// A bitonic sort of n entries, any n: those behind the last count as farther than all. By all threads; what was written
// before is seen, a barrier ends it.
inline void sort_scores(ScoreList list, uint n, uint thread_index, uint threads) {
  uint padded = ceil_power_of_2(n);
  for (uint size = 2u; size <= padded; size *= 2u) {
    for (uint distance = size / 2u; distance > 0u; distance /= 2u) {
      threadgroup_barrier(mem_flags::mem_device);
      for (uint c = thread_index; c < padded / 2u; c += threads) {
        uint within = c & (distance - 1u), block = 2u * (c - within);
        uint i = block + within;
        uint j = 2u * distance == size ? block + 2u * distance - 1u - within : i + distance;
        if (j < n && is_nearer(list.scores[j], list.rows[j], list.scores[i], list.rows[i])) {
          ulong score = list.scores[i];
          uint row = list.rows[i];
          list.scores[i] = list.scores[j];
          list.rows[i] = list.rows[j];
          list.scores[j] = score;
          list.rows[j] = row;
        }
      }
    }
  }
  threadgroup_barrier(mem_flags::mem_device);
}
