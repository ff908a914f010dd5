// expect: a barrier takes mem_flags
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  threadgroup_barrier(2);  // <-
  x[i] = 1.0f;
}
