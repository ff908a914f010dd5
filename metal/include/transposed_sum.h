// Sums over the lanes of a simdgroup, of many values at once.
#pragma once

// x holds `count` values a lane, count a power of two: lane l gets the sum over the lanes of x[l * count / 32].
inline float transposed_sum(thread float* x, uint count, uint lane) {
#pragma unroll
  for (uint step = 0u; step < 5u; step++) {
    uint width = 16u >> step;
    uint half_count = count * width / 32u;
    bool upper = (lane & width) != 0u;
    if (half_count == 0u) {
      x[0] += simd_shuffle_xor(x[0], ushort(width));
    }
#pragma unroll
    for (uint i = 0; i < half_count; i++) {
      float given = upper ? x[i] : x[i + half_count];
      float kept = upper ? x[i + half_count] : x[i];
      x[i] = kept + simd_shuffle_xor(given, ushort(width));
    }
  }
  return x[0];
}
