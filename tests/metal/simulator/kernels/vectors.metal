// Squared lengths of vectors, four elements at a time, with their index: wide accesses, structs, helper functions.
#include <metal_stdlib>
using namespace metal;

#ifndef T4
#define T4 float4
#endif

struct Hit {
  float length;
  uint index;
};

static inline float sum_of(float4 x) {
  return x.x + x.y + x.z + x.w;
}

static inline Hit best(Hit a, Hit b) {
  return b.length < a.length || (b.length == a.length && b.index < a.index) ? b : a;
}

// The least of the simdgroup, in every lane.
static inline Hit reduce(Hit mine) {
  for (ushort step = 16; step > 0; step /= 2) {
    Hit other;
    other.length = simd_shuffle_xor(mine.length, step);
    other.index = simd_shuffle_xor(mine.index, step);
    mine = best(mine, other);
  }
  return mine;
}

// One simdgroup finds the shortest of n vectors with 4 * quads elements.
kernel void shortest(device const T4* x [[buffer(0)]], device Hit* out [[buffer(1)]],
                     constant uint2& size [[buffer(2)]], uint lane [[thread_index_in_simdgroup]]) {
  const uint n = size.x, quads = size.y;
  Hit mine = {INFINITY, UINT_MAX};
  for (uint i = lane; i < n; i += 32) {
    float length = 0;
    for (uint j = 0; j < quads; j++) {
      const float4 v = float4(x[i * quads + j]);
      length += sum_of(v * v);
    }
    mine = best(mine, Hit{length, i});
  }
  mine = reduce(mine);
  if (lane == 0) {
    *out = mine;
  }
}
