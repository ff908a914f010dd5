// expect: \[\[buffer\]\] needs an index
#include <metal_stdlib>
using namespace metal;

kernel void k(
    device float* x [[buffer]] ) {  // <-
  x[0] = 1.0f;
}
