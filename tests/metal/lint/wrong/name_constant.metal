// expect: `constant` is a keyword of MSL
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  const float constant = 2.0f;  // <-
}
