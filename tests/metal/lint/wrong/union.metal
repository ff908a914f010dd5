// expect: `union`: .*no unions
#include <metal_stdlib>
using namespace metal;

union Bits { float f; uint u; };  // <-
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = 1.0f;
}
