// expect: `kernel` is a keyword of MSL
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  uint kernel = i + 1;  // <-
}
