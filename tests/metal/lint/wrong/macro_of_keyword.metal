// expect: `half` is a word of MSL: it cannot be a macro
#include <metal_stdlib>
using namespace metal;

#define half float  // <-
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  half h = x[i];
  x[i] = h;
}
