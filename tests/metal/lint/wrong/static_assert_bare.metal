// expect: MSL 3.2 is C\+\+14
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  static_assert(sizeof(float) == 4);  // <-
  x[i] = 1.0f;
}
