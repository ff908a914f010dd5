#include <metal_stdlib>
using namespace metal;

#include <metal_simdgroup_matrix>

kernel void matrices(device const half* a [[buffer(0)]], device const bfloat* b [[buffer(1)]],
                     device float* y [[buffer(2)]], constant int64_t& stride [[buffer(3)]],
                     uint i [[thread_index_in_threadgroup]]) {
  threadgroup float tile[8 * 9];
  simdgroup_float8x8 acc[2][2];
  for (int r = 0; r < 2; r++) {
    for (int c = 0; c < 2; c++) {
      acc[r][c] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
    }
  }
  simdgroup_half8x8 h;
  simdgroup_bfloat8x8 w;
  simdgroup_load(h, a, 8);
  simdgroup_load(w, b, ulong(stride), ulong2(0, 8), true);
  simdgroup_multiply_accumulate(acc[0][0], h, h, acc[0][0]);
  simdgroup_multiply_accumulate(acc[1][1], w, w, acc[1][1]);
  simdgroup_store(acc[0][0], tile, 9);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  simdgroup_float8x8 f = simdgroup_float8x8(1.0f);
  simdgroup_load(f, &tile[0], 9, 0, true);
  simdgroup_multiply(acc[0][1], f, f);
  simdgroup_store(acc[1][1], y + 64, 8);
  simdgroup_store(acc[0][1], y, 8);
  y[128 + i] = tile[i];
}
