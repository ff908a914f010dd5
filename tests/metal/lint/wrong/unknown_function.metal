// expect: not in the part of MSL that the dialect has
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = lgamma(x[i]);  // <-
}
