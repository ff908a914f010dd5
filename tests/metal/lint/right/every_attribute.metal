#include <metal_stdlib>
using namespace metal;

kernel void every_attribute(device uint* x [[buffer(0)]], constant uint* table [[buffer(30)]],
                            threadgroup uint* t [[threadgroup(0)]], uint3 at [[thread_position_in_grid]],
                            uint3 grid [[threads_per_grid]], uint3 group [[threadgroup_position_in_grid]],
                            uint3 groups [[threadgroups_per_grid]], ushort3 inside [[thread_position_in_threadgroup]],
                            ushort3 size [[threads_per_threadgroup]], uint i [[thread_index_in_threadgroup]],
                            uint lane [[thread_index_in_simdgroup]], uint simd [[simdgroup_index_in_threadgroup]],
                            uint simds [[simdgroups_per_threadgroup]], uint width [[threads_per_simdgroup]]) {
  t[i] = table[i] + at.x + grid.x + group.y + groups.z + inside.x + size.y;
  x[i] = t[i] + lane + simd + simds + width;
}
