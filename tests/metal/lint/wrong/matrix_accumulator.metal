// expect: matching element types
#include <metal_stdlib>
using namespace metal;

kernel void k(device float* x [[buffer(0)]]) {
  simdgroup_half8x8 a = make_filled_simdgroup_matrix<half, 8, 8>(0.0h);
  simdgroup_float8x8 b = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  simdgroup_multiply_accumulate(b, a, b, b);  // <-
  simdgroup_store(b, x, 8);
}
