// expect: `a` points or refers to memory of no address space
#include <metal_stdlib>
using namespace metal;

inline void twice(float& a) { a *= 2.0f; }  // <-
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  float r = 1.0f;
  twice(r);
  x[i] = r;
}
