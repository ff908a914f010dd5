// expect: a buffer holds no pointers
#include <metal_stdlib>
using namespace metal;

kernel void k(
    device float* device* x [[buffer(0)]] ) {  // <-
  x[0][0] = 1.0f;
}
