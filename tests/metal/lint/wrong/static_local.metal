// expect: requires `constant` of a static variable
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  static int n = 0;  // <-
  x[i] = float(n);
}
