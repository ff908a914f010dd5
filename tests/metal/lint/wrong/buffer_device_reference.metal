// expect: a reference is to `constant` memory
#include <metal_stdlib>
using namespace metal;

kernel void k(
    device float& x [[buffer(0)]] ) {  // <-
  x = 1.0f;
}
