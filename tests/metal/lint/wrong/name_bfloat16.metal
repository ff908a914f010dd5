// expect: `bfloat16` is reserved
#include <metal_stdlib>
using namespace metal;

typedef float bfloat16;  // <-
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = 1.0f;
}
