// expect: `double`: MSL has no double precision
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  double s = x[i];  // <-
  x[i] = float(s);
}
