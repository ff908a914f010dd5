// expect: top of a kernel's body
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  if (x[i] > 0.0f) {
    threadgroup float t[4];  // <-
    x[i] = t[0];
  }
}
