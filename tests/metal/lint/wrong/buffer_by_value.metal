// expect: a buffer is a `device` or `constant` pointer.*not `uint`
#include <metal_stdlib>
using namespace metal;

kernel void k(
    device float* x [[buffer(0)]],
    uint n [[buffer(1)]] ) {  // <-
  x[n] = 1.0f;
}
