// expect: `simd_prefix_inclusive_product` is a name of Apple's library
#include <metal_stdlib>
using namespace metal;

inline float simd_prefix_inclusive_product(float a) {  // <-
  return simd_sum(a);
}
kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = simd_prefix_inclusive_product(x[i]);
}
