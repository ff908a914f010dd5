// expect: `a` points or refers to memory of no address space
#include <metal_stdlib>
using namespace metal;

inline float first(float* a) { return a[0]; }  // <-
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  float r[2] = {1.0f, 2.0f};
  x[i] = first(r);
}
