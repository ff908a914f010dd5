// expect: thread_index_in_simdgroup\]\] is uint, ushort, not `uint2`
#include <metal_stdlib>
using namespace metal;

kernel void k(
    device float* x [[buffer(0)]],
    uint2 lane [[thread_index_in_simdgroup]] ) {  // <-
  x[lane.x] = 1.0f;
}
