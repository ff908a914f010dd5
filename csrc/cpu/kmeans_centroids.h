// Centroids as an assignment multiplies and compares them.
#pragma once

#include "cpu/kmeans_bounds.h"
#include "cpu/knn_prepare.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

struct Centroids {
  const float* center;            // d: taken off points and centroids
  const Code* panels;             // [panel][row_steps][kTileCols][kGroup]
  const Code* rows;               // [centroid][kmeans_codes_width]
  const float *scales, *add;      // what a CodeTile takes of rows: times -2; the squared norm, +inf where there is none
  const float *errors, *lengths;  // times 2
  const int64_t* special;         // centroids that are measured for every point
  int64_t num_special;
  double longest;
  const uint8_t* moved;  // since the bounds were made, in their steps; null where there are none
  float step;            // of bounds that are kept; else 1
};

inline size_t centroids_bytes(int64_t k, int64_t d) {
  const int64_t columns = round_up(k, kTileCols);
  return Arena::padded<Code>(columns * row_steps(d) * kGroup) + Arena::padded<Code>(columns * kmeans_codes_width(d)) +
         4 * Arena::padded<float>(columns) + 2 * Arena::padded<float>(round_up(d, W)) +
         Arena::padded<int8_t>(kmeans_codes_width(d)) + Arena::padded<uint8_t>(kmeans_bounds_width(k)) +
         Arena::padded<int64_t>(k);
}

// 1.25 times a typical distance as the largest that bytes tell.
inline float step_of(const KmeansAssignArgs& a, const Centroids& c) {
  constexpr int64_t kSample = 64;
  double sum = c.longest * c.longest;
  for (int64_t i = 0; i < kSample; i++) {
    double norm2 = exact_sum<false>(a.x + i * a.n / kSample * a.d, c.center, a.d) / kSample;
    sum += norm2 < __builtin_inf() ? norm2 : 0;
  }
  auto step = static_cast<float>(1.25 / kMostBound * __builtin_sqrt(sum));
  return step > 1 / kLongestVector && step <= kLongestVector ? step : 1;
}

// Rounds the centroids, in memory of the arena. Points are centred alike as long as a memory holds their codes.
inline Centroids prepare_centroids(const KmeansAssignArgs& a, Arena& arena) {
  const int64_t columns = round_up(a.k, kTileCols), codes = row_steps(a.d) * kGroup, width = kmeans_codes_width(a.d);
  auto* panels = arena.take<Code>(columns * codes);
  auto* rows = arena.take<Code>(columns * width);
  auto* scales = arena.take<float>(columns);
  auto* add = arena.take<float>(columns);
  auto* errors = arena.take<float>(columns);
  auto* lengths = arena.take<float>(columns);
  auto* center = arena.take<float>(round_up(a.d, W));
  auto* centred = arena.take<float>(round_up(a.d, W));
  auto* integers = arena.take<int8_t>(width);
  auto* special = arena.take<int64_t>(a.k);
  if (a.memory && a.memory->calls > 0) {
    __builtin_memcpy(center, a.memory->center, a.d * sizeof(float));
  } else {
    find_center({a.centroids, Float::f32, a.k, a.d, a.d, 1}, center);
  }
  Centroids c{center, panels, rows, scales, add, errors, lengths, special, 0, 0, nullptr, 1};
  __builtin_memset(integers, 0, width);
  for (int64_t j = 0; j < columns; j++) {
    KmeansRounded rounded{};
    if (j < a.k) {
      centre(a.centroids + j * a.d, center, a.d, centred);
      rounded = round_to_codes(centred, a.d, kMostOfRow, integers);
      c.longest = rounded.known && rounded.length > c.longest ? static_cast<double>(rounded.length) : c.longest;
      special[c.num_special] = j;
      c.num_special += !rounded.known;
    } else {
      __builtin_memset(integers, 0, width);
    }
    widen_codes(integers, width, 0, rows + j * width);
    place_row(rows + j * width, a.d, j % kTileCols, panels + j / kTileCols * kTileCols * codes);
    scales[j] = -2 * rounded.scale;
    add[j] = rounded.known ? static_cast<float>(rounded.norm2) : __builtin_inff();
    errors[j] = rounded.known ? 2 * rounded.error : 0;
    lengths[j] = rounded.known ? 2 * (rounded.length + rounded.error) : 0;
  }
  if (keeps_bounds(a)) {
    c.step = a.memory->calls > 1 ? a.memory->step : step_of(a, c);
  }
  if (keeps_bounds(a) && a.memory->calls > 1 && c.num_special == 0) {
    auto* moved = arena.take<uint8_t>(kmeans_bounds_width(a.k));
    __builtin_memset(moved, 0, kmeans_bounds_width(a.k));
    moved_by(a.memory->centroids, a.centroids, a.k, a.d, c.step, moved);
    c.moved = moved;
  }
  return c;
}

// For the next assignment. The points' codes and bounds are there already.
inline void remember(const KmeansAssignArgs& a, const Centroids& c) {
  __builtin_memcpy(a.memory->center, c.center, a.d * sizeof(float));
  __builtin_memcpy(a.memory->centroids, a.centroids, a.k * a.d * sizeof(float));
  __builtin_memcpy(a.memory->ids, a.ids, a.n * sizeof(int64_t));
  a.memory->step = c.step;
  a.memory->calls++;
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
