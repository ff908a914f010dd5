// expect: made of one scalar, of its components
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  float4 v = float4(1.0f, 2.0f, 3.0f);  // <-
  x[i] = v.x;
}
