// expect: read only
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], constant float* p [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  p[0] = x[i];  // <-
}
