// expect: `printf`: MSL has no printf
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  printf(1);  // <-
  x[i] = 1.0f;
}
