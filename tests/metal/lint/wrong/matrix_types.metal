// expect: matching element types
#include <metal_stdlib>
using namespace metal;

kernel void k(device half* x [[buffer(0)]], device float* y [[buffer(1)]]) {
  simdgroup_float8x8 a;
  simdgroup_load(a, x, 8);  // <-
  simdgroup_store(a, y, 8);
}
