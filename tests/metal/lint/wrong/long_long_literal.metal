// expect: `4LL`: MSL has no long long
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[4LL] = 1.0f;  // <-
}
