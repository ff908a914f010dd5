// expect: array index 4 is past the end
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  float r[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  x[i] = r[4];  // <-
}
