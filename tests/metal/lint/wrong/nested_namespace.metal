// expect: MSL 3.2 is C\+\+14
#include <metal_stdlib>
using namespace metal;

namespace a::b { constant int n = 3; }  // <-
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = 1.0f;
}
