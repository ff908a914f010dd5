// expect: address spaces do not convert
#include <metal_stdlib>
using namespace metal;

inline float first(thread const float* a) { return a[0]; }
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = first(x);  // <-
}
