// expect: read only
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], device const float* y [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  device float* q = y;  // <-
  q[i] = x[i];
}
