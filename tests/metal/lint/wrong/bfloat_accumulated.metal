// expect: `float` becomes bfloat implicitly
#include <metal_stdlib>
using namespace metal;

kernel void k(device bfloat* y [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  y[i] += 0.5f;  // <-
}
