// expect: `q` points or refers to memory of no address space
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  float* q = x + i;  // <-
  q[0] = 1.0f;
}
