// expect: bfloat converts implicitly to float alone
#include <metal_stdlib>
using namespace metal;

kernel void k(device bfloat* y [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  half h = y[i];  // <-
  y[i] = bfloat(h);
}
