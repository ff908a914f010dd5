#include <metal_atomic>
#include <metal_simdgroup>
#include <metal_simdgroup_matrix>
#include <metal_stdlib>

using metal::simd_sum;

kernel void includes(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = simd_sum(metal::sqrt(x[i]));
  metal::threadgroup_barrier(metal::mem_flags::mem_none);
}
