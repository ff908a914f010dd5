// expect: MSL gives a vector of bool|not contextually convertible to 'bool'
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  float4 v = float4(x[i]);
  if (v < float4(1.0f)) x[i] = 1.0f;  // <-
}
