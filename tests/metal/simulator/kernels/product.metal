// C = A B for n x n matrices, 8 x 8 tiles, one simdgroup a tile: edges go through a threadgroup tile.
#include <metal_simdgroup_matrix>
#include <metal_stdlib>
using namespace metal;

#ifndef T
#define T float
#endif

kernel void product(device const T* a [[buffer(0)]], device const T* b [[buffer(1)]], device float* c [[buffer(2)]],
                    constant int& n [[buffer(3)]], uint3 group [[threadgroup_position_in_grid]],
                    uint lane [[thread_index_in_simdgroup]]) {
  threadgroup T a_tile[64];
  threadgroup T b_tile[8][8];
  threadgroup float c_tile[64];
  const int row = (int)group.y * 8, column = (int)group.x * 8;
  simdgroup_float8x8 sum = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  for (int k = 0; k < n; k += 8) {
    for (int i = (int)lane; i < 64; i += 32) {
      const int y = i / 8, x = i % 8;
      a_tile[i] = row + y < n && k + x < n ? a[(row + y) * n + k + x] : T(0);
      b_tile[y][x] = k + y < n && column + x < n ? b[(k + y) * n + column + x] : T(0);
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
    simdgroup_matrix<T, 8, 8> left, right;
    simdgroup_load(left, a_tile, 8);
    simdgroup_load(right, &b_tile[0][0], 8);
    simdgroup_multiply_accumulate(sum, left, right, sum);
    simdgroup_barrier(mem_flags::mem_threadgroup);
  }
  simdgroup_store(sum, c_tile, 8);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  for (int i = (int)lane; i < 64; i += 32) {
    const int y = i / 8, x = i % 8;
    if (row + y < n && column + x < n) {
      c[(row + y) * n + column + x] = c_tile[i];
    }
  }
}
