// expect: two types of one size
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  ushort b = as_type<ushort>(x[i]);  // <-
  x[i] = float(b);
}
