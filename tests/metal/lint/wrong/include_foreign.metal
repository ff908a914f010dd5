// expect: include <cmath>.*a kernel may include
#include <metal_stdlib>
using namespace metal;

#include <cmath>  // <-
kernel void k(device float* x [[buffer(0)]]) { x[0] = 1.0f; }
