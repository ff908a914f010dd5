// expect: unused parameter 'y'
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]], device float* y [[buffer(1)]]  /* <- */) {
  x[0] = 1.0f;
}
