// expect: address spaces do not convert
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  threadgroup float t[4];
  t[i & 3] = 1.0f;
  device float* q = t;  // <-
  q[0] = x[0];
}
