// expect: `distance` is a name of Apple's library
#include <metal_stdlib>
using namespace metal;

inline float distance(float a, float b) {  // <-
  return a < b ? b - a : a - b;
}
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = distance(x[i], 1.0f);
}
