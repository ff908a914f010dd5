// expect: requires `constant` of a variable at program scope
#include <metal_stdlib>
using namespace metal;

const float scale = 2.0f;  // <-
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = scale;
}
