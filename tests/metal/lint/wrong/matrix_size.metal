// expect: unknown type name 'simdgroup_float4x4'
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]]) {
  simdgroup_float4x4 a;  // <-
  x[0] = 1.0f;
}
