// expect: a value that its type may not hold
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  ushort n = i * 3;  // <-
  x[n] = 1.0f;
}
