// expect: top of a kernel's body
#include <metal_stdlib>
using namespace metal;

inline float f() {
  threadgroup float t[4];  // <-
  return t[0];
}
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = f();
}
