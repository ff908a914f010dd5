// Sums of rows, one threadgroup a row: threadgroup arrays, dynamic threadgroup memory, barriers, simdgroup reductions.
#include <metal_stdlib>
using namespace metal;

#ifndef T
#define T float
#endif

#define SIMDS 4

struct SumsParams {
  int64_t stride;
  int32_t columns;
  int32_t rows;
};

kernel void sums(device const T* x [[buffer(0)]], device float* out [[buffer(1)]], constant SumsParams& p [[buffer(2)]],
                 threadgroup float* row [[threadgroup(0)]], uint3 group [[threadgroup_position_in_grid]],
                 uint tid [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
                 uint simd [[simdgroup_index_in_threadgroup]]) {
  threadgroup float part[SIMDS];
  const uint threads = SIMDS * 32;
  const uint columns = (uint)p.columns;
  device const T* from = x + (int64_t)group.x * p.stride;
  for (uint i = tid; i < columns; i += threads) {
    row[i] = float(from[i]);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  // Each thread takes neighbours, which other threads have loaded.
  float sum = 0;
  const uint each = (columns + threads - 1) / threads;
  for (uint i = tid * each; i < min(columns, tid * each + each); i++) {
    sum += row[i];
  }
  sum = simd_sum(sum);
  if (lane == 0) {
    part[simd] = sum;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (tid == 0) {
    float total = 0;
    for (uint i = 0; i < SIMDS; i++) {
      total += part[i];
    }
    out[group.x] = total;
  }
}
