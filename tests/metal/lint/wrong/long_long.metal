// expect: `long long`: MSL has no long long
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  long long n = 1;  // <-
  x[n] = 1.0f;
}
