// expect: truncated to an integer by an explicit conversion
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  int n = x[i];  // <-
  x[n] = 1.0f;
}
