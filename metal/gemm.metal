// Products of a tall matrix with a skinny one: A V and A^T B. A^T (A V) in one pass is z_step.metal.
//
// gemm_av and gemm_at_b: a threadgroup makes one TILE_M x TILE_K tile of the output over one slab of the contraction,
// TILE_N of it at a time: both operands' tiles are loaded to threadgroup memory as float32, with zeros beyond the
// edges, and multiplied there as 8x8 blocks. The two differ in A's storage alone: the output's rows are A's rows, or
// its columns. Several slabs: gemm_sum adds their outputs.
//
//   TILE_M x TILE_N x TILE_K   simdgroups   threadgroup memory   accumulators a lane   for
//        64 x 64 x 8             8            20 KB                 2                  k <= 8
//        64 x 32 x 32            8            14 KB                 8                  k <= 32
//        64 x 32 x 64            8            18 KB                16                  k <= 64
//        64 x 16 x 128           8            14 KB                32                  larger k
//        16 x ..                 2 or 8       5 to 11 KB            2 to 8             the same, small products
//
// Bytes moved: A once where k <= 128, otherwise ceil(k / 128) times (neighbouring threadgroups in order, so that the
// repetitions come from a cache); B once for every TILE_M rows of the output, mostly from a cache; the output once, and
// 8 bytes an element and slab where there are several. That is 4 (n / k + n / TILE_M + 1) bytes of an output of
// gemm_av, for float32. On an M3 Max (400 GB/s, 14 TFLOP/s) memory is the limit below k = 70, arithmetic above.
#include <metal_simdgroup_matrix>
#include <metal_stdlib>
using namespace metal;

#ifndef T  // of A
#define T float
#endif
#ifndef TB  // of B: T, or float for what another kernel wrote
#define TB T
#endif
#ifndef O  // of the output: T, or float for what another kernel reads
#define O float
#endif
#ifndef TILE_M
#define TILE_M 16
#endif
#ifndef TILE_N
#define TILE_N 32
#endif
#ifndef TILE_K
#define TILE_K 32
#endif
#ifndef SIMDS_M  // the simdgroups' arrangement over the output's tile
#define SIMDS_M 2
#endif
#ifndef SIMDS_K
#define SIMDS_K 4
#endif

#include "gemm_output.h"
#include "gemm_params.h"
#include "tile.h"

#define THREADS (32 * SIMDS_M * SIMDS_K)
#define BLOCKS_M (TILE_M / 8 / SIMDS_M)  // 8x8 blocks of a simdgroup
#define BLOCKS_K (TILE_K / 8 / SIMDS_K)
#define STRIDE_M (TILE_M + TILE_PAD)
#define STRIDE_N (TILE_N + TILE_PAD)
#define STRIDE_K (TILE_K + TILE_PAD)
#if 8 * SIMDS_M > TILE_N || BLOCKS_K > 4
#error "a tile of B must hold eight rows of every simdgroup, and multiply_blocks four blocks in a row"
#endif

// Writes the blocks of all simdgroups to the output, eight rows of each simdgroup at a time by way of `stage`.
inline void write_blocks(device O* out, constant GemmParams& p, thread simdgroup_float8x8* sum,
                         threadgroup float* stage, long row, long column, int thread_index, int simd_index) {
  threadgroup float* own = stage + 8 * (simd_index / SIMDS_K) * STRIDE_K + 8 * (simd_index % SIMDS_K) * BLOCKS_K;
  for (int i = 0; i < BLOCKS_M; i++) {
    store_blocks(sum + i * BLOCKS_K, 1, BLOCKS_K, own, STRIDE_K);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int s = 0; s < SIMDS_M; s++) {
      write_rows(out, p, stage + 8 * s * STRIDE_K, 8, TILE_K, row + 8 * (s * BLOCKS_M + i), column, thread_index,
                 THREADS);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
}

kernel void gemm_av(device const T* a [[buffer(0)]], device const TB* b [[buffer(1)]], device O* out [[buffer(2)]],
                    constant GemmParams& p [[buffer(3)]], uint3 group [[threadgroup_position_in_grid]],
                    uint thread_index [[thread_index_in_threadgroup]],
                    uint simd_index [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 a_tile[TILE_M * STRIDE_N / 4];
  threadgroup float4 b_tile[TILE_N * STRIDE_K / 4];
  threadgroup float* at = (threadgroup float*)a_tile;
  threadgroup float* bt = (threadgroup float*)b_tile;
  long row = long(group.x / p.column_tiles) * TILE_M, column = long(group.x % p.column_tiles) * TILE_K;
  long begin = group.y * p.slab, end = min(long(begin + p.slab), long(p.contraction));
  device const T* a_panel = a + batch_offset(p.a_batch, p, group.z) + row * p.a_row;
  device const TB* b_panel = b + batch_offset(p.b_batch, p, group.z) + column * p.b_column;
  int first_row = simd_index / SIMDS_K * BLOCKS_M * 8, first_column = simd_index % SIMDS_K * BLOCKS_K * 8;

  simdgroup_float8x8 sum[BLOCKS_M * BLOCKS_K];
  fill_zero(sum, BLOCKS_M * BLOCKS_K);
  for (long i = begin; i < end; i += TILE_N) {
    load_tile(at, TILE_M, TILE_N, (device const uchar*)(a_panel + i * p.a_column), element_type(a), p.a_row, p.a_column,
              p.rows - row, end - i, p.a_order, thread_index, THREADS);
    load_tile(bt, TILE_N, TILE_K, (device const uchar*)(b_panel + i * p.b_row), element_type(b), p.b_row, p.b_column,
              end - i, p.columns - column, p.b_order, thread_index, THREADS);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    multiply_blocks(sum, BLOCKS_M, BLOCKS_K, at + first_row * STRIDE_N, STRIDE_N, false, bt + first_column, STRIDE_K,
                    TILE_N);
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  write_blocks(output_matrix(out, p, group.y, group.z), p, sum, bt, row, column, thread_index, simd_index);
}

// The same for a contraction along A's columns: a tile of A holds TILE_N rows of it, and blocks are read transposed.
kernel void gemm_at_b(device const T* a [[buffer(0)]], device const TB* b [[buffer(1)]], device O* out [[buffer(2)]],
                      constant GemmParams& p [[buffer(3)]], uint3 group [[threadgroup_position_in_grid]],
                      uint thread_index [[thread_index_in_threadgroup]],
                      uint simd_index [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 a_tile[TILE_N * STRIDE_M / 4];
  threadgroup float4 b_tile[TILE_N * STRIDE_K / 4];
  threadgroup float* at = (threadgroup float*)a_tile;
  threadgroup float* bt = (threadgroup float*)b_tile;
  long row = long(group.x / p.column_tiles) * TILE_M, column = long(group.x % p.column_tiles) * TILE_K;
  long begin = group.y * p.slab, end = min(long(begin + p.slab), long(p.contraction));
  device const T* a_panel = a + batch_offset(p.a_batch, p, group.z) + row * p.a_column;
  device const TB* b_panel = b + batch_offset(p.b_batch, p, group.z) + column * p.b_column;
  int first_row = simd_index / SIMDS_K * BLOCKS_M * 8, first_column = simd_index % SIMDS_K * BLOCKS_K * 8;

  simdgroup_float8x8 sum[BLOCKS_M * BLOCKS_K];
  fill_zero(sum, BLOCKS_M * BLOCKS_K);
  for (long i = begin; i < end; i += TILE_N) {
    load_tile(at, TILE_N, TILE_M, (device const uchar*)(a_panel + i * p.a_row), element_type(a), p.a_row, p.a_column,
              end - i, p.rows - row, p.a_order, thread_index, THREADS);
    load_tile(bt, TILE_N, TILE_K, (device const uchar*)(b_panel + i * p.b_row), element_type(b), p.b_row, p.b_column,
              end - i, p.columns - column, p.b_order, thread_index, THREADS);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    multiply_blocks(sum, BLOCKS_M, BLOCKS_K, at + first_row, STRIDE_M, true, bt + first_column, STRIDE_K, TILE_N);
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  write_blocks(output_matrix(out, p, group.y, group.z), p, sum, bt, row, column, thread_index, simd_index);
}

// out = the sum of all slabs, in an order that depends on their number alone: eight partial sums of every eighth slab,
// then a tree. A threadgroup makes 32 elements with eight simdgroups. 1 KB of threadgroup memory; 4 slabs + 4 bytes
// moved for an output in float32.
kernel void gemm_sum(device const float* slabs [[buffer(0)]], device T* out [[buffer(1)]],
                     constant GemmSumParams& p [[buffer(2)]], uint3 group [[threadgroup_position_in_grid]],
                     uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float sums[256];
  long i = (long(group.y) * p.groups_x + group.x) * 32 + thread_index % 32;
  int part = thread_index / 32;
  float sum = 0.0f;
  if (i < p.size) {
    for (int s = part; s < p.slabs; s += 8) {
      sum += slabs[s * p.size + i];
    }
  }
  sums[thread_index] = sum;
  for (int parts = 4; parts > 0; parts /= 2) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (part < parts) {
      sums[thread_index] += sums[thread_index + 32 * parts];
    }
  }
  if (part == 0 && i < p.size) {
    out[i] = T(sums[thread_index]);
  }
}
