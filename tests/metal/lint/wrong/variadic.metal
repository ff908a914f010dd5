// expect: no variadic functions
#include <metal_stdlib>
using namespace metal;

inline int last(int n, ...) { return n; }  // <-
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = 1.0f;
}
