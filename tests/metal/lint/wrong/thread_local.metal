// expect: `thread_local`: MSL has no thread_local
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  thread_local int n = 0;  // <-
  x[n] = 1.0f;
}
