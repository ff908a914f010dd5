// expect: a vote becomes bits by ulong
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  uint votes = simd_ballot(x[i] > 0.0f);  // <-
  x[i] = float(popcount(votes));
}
