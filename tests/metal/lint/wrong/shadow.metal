// expect: a name has one meaning
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  float s = x[i];
  for (int j = 0; j < 4; j++) {
    float s = x[j];  // <-
    x[i] += s;
  }
  x[i] += s;
}
