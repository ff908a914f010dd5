// expect: no member named 'mem_texture'
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  threadgroup_barrier(mem_flags::mem_texture);  // <-
  x[i] = 1.0f;
}
