// expect: registers hold garbage
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  float s;
  if (x[i] > 0.0f) {  // <-
    s = 1.0f;
  }
  x[i] = s;  // <-
}
