#include <metal_stdlib>
using namespace metal;

#include <metal_simdgroup>

kernel void simd_functions(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]],
                           ushort lane [[thread_index_in_simdgroup]]) {
  float v = x[i];
  v = simd_sum(v) + simd_max(v) - simd_min(v);
  for (ushort d = 16; d > 0; d /= 2) {
    v += simd_shuffle_xor(v, d);
    v += simd_shuffle_down(v, d) + simd_shuffle_up(v, d);
  }
  const uint rank = simd_prefix_exclusive_sum(uint(v > 0.0f));
  const half2 pair = simd_shuffle(half2(half(v)), lane ^ 1);
  const uint votes = uint(ulong(simd_ballot(v > 0.0f)));
  const simd_vote vote = simd_ballot(v < 0.0f);
  const uint others = uint((simd_vote::vote_t)vote) | uint(static_cast<simd_vote::vote_t>(vote));
  if (vote.all() || vote.any() || simd_any(v > 1.0f) || simd_all(v < 1.0f)) {
    v = simd_broadcast(v, 0) + simd_broadcast_first(v);
  }
  const uint below = popcount(votes & ((1u << lane) - 1));
  x[i] = v + float(pair.x) + float(rank + others + below);
}
