// expect: pass through ASCII
#include <metal_stdlib>
using namespace metal;

// étude  <-
kernel void k(device float* x [[buffer(0)]]) { x[0] = 1.0f; }
