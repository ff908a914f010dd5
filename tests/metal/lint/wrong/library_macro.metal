// expect: `HALF_MAX` is a macro of Apple's library
#include <metal_stdlib>
using namespace metal;

#define HALF_MAX 65504.0f  // <-
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = HALF_MAX;
}
