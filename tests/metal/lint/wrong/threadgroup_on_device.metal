// expect: is for a `threadgroup` pointer
#include <metal_stdlib>
using namespace metal;

kernel void k(
    device float* x [[buffer(0)]],
    device float* t [[threadgroup(0)]] ) {  // <-
  x[0] = t[0];
}
