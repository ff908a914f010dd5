// expect: `delete`: MSL has no dynamic memory
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  delete &x[i];  // <-
}
