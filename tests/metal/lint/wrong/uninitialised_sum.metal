// expect: registers hold garbage
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  float s;
  for (int j = 0; j < 4; j++) {
    s += x[j];  // <-
  }
  x[i] = s;
}
