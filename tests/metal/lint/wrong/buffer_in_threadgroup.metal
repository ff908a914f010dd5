// expect: lies in `device` or `constant` memory
#include <metal_stdlib>
using namespace metal;

kernel void k(
    device float* x [[buffer(0)]],
    threadgroup float* y [[buffer(1)]] ) {  // <-
  x[0] = y[0];
}
