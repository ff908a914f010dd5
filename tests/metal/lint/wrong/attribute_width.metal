// expect: different numbers of components
#include <metal_stdlib>
using namespace metal;

kernel void k(
    device float* x [[buffer(0)]],
    uint3 group [[threadgroup_position_in_grid]],
    uint i [[thread_position_in_threadgroup]] ) {  // <-
  x[i] = float(group.x);
}
