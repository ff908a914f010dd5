// expect: MSL gives a vector of bool
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  int4 m = float4(x[i]) < float4(1.0f);  // <-
  x[i] = float(m.x);
}
