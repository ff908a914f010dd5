// expect: thread_position_in_group\]\]: no attribute
#include <metal_stdlib>
using namespace metal;

kernel void k(
    device float* x [[buffer(0)]],
    uint i [[thread_position_in_group]] ) {  // <-
  x[i] = 1.0f;
}
