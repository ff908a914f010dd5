// expect: does not return a value
#include <metal_stdlib>
using namespace metal;

inline float f(float a) {
  if (a > 0.0f) return 1.0f;
}  // <-
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = f(x[i]);
}
