// expect: `n` of k: `uint` has no attribute
#include <metal_stdlib>
using namespace metal;

kernel void k(
    device float* x [[buffer(0)]],
    uint n ) {  // <-
  x[n] = 1.0f;
}
