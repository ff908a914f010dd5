// expect: which has none: use #if
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  if constexpr (sizeof(int) == 4) x[i] = 1.0f;  // <-
}
