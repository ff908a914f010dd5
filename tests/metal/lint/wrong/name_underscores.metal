// expect: two leading underscores
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[__builtin_abs(int(i))] = 1.0f;  // <-
}
