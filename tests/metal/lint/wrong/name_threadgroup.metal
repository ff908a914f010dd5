// expect: `threadgroup` is a keyword of MSL
#include <metal_stdlib>
using namespace metal;

kernel void k(
    device float* x [[buffer(0)]],
    uint threadgroup [[threadgroup_position_in_grid]] ) {  // <-
  x[0] = 1.0f;
}
