// expect: Metal has buffers 0 to 30
#include <metal_stdlib>
using namespace metal;

kernel void k(
    device float* x [[buffer(31)]] ) {  // <-
  x[0] = 1.0f;
}
