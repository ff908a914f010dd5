// A^T (A V) in one pass over A.
//
// A threadgroup takes the panels of PANEL rows of one slab, one after the other. Of a panel it makes Y = A_panel V,
// CHUNK columns of A at a time, into threadgroup memory; then it goes back over the chunks, the last one first as it is
// still there, and adds A_chunk^T Y to its own sum. The n x k sum stays in registers until the slab ends: that is what
// bounds n k, by 8192 with 8 simdgroups and 32768 with 16. Each slab's sum is written once, and gemm_sum (gemm.metal)
// adds them. Larger n k: the plan makes A V and A^T Y with gemm.metal, so that A is read twice.
//
//   PANEL x CHUNK x Z_K   simdgroups   n up to   threadgroup memory   for
//      32 x 128 x 8        8 or 16   1024, 4096        23 KB          k <= 8
//      32 x 64 x 32           8          256           18 KB          k <= 32
//      64 x 64 x 32          16         1024           26 KB
//      32 x 32 x 64        8 or 16    128, 512         13 KB          k <= 64
//      32 x 32 x 128         16          256           21 KB          k <= 128
//
// Registers: CHUNK CHUNKS Z_K / (32 simdgroups) of a lane hold the sum, at most 32 with 8 simdgroups and 64 with 16.
// NVRTC takes 128 in all where 64 of them are the sum; 512 such threads fill the registers of a multiprocessor, and
// those of an M1's core (208 KB, as far as is known) with 104 each.
//
// Bytes moved: A once from memory. A panel is read again by the same threadgroup before the next one (all but its last
// chunk: not at all for n <= CHUNK), from a cache if it holds 4 PANEL n bytes a threadgroup; V once a panel, that is
// k / PANEL of A's bytes, from a cache. Sums: 8 slabs n k bytes written and read; the plan keeps them to a
// quarter of A, or 32 slabs. An output costs 4 m / k bytes in float32. On an M3 Max (400 GB/s, 14 TFLOP/s) one pass of
// k = 32 takes as long in memory as in arithmetic; where k >= 64, arithmetic takes longer than two passes would.
#include <metal_simdgroup_matrix>
#include <metal_stdlib>
using namespace metal;

#ifndef T  // of the inputs
#define T float
#endif
#ifndef O  // of the output: T for a single slab, otherwise float
#define O float
#endif
#ifndef PANEL
#define PANEL 32
#endif
#ifndef CHUNK
#define CHUNK 64
#endif
#ifndef CHUNKS  // at least n / CHUNK
#define CHUNKS 1
#endif
#ifndef Z_K  // at least k
#define Z_K 32
#endif
#ifndef SIMDS_N  // the simdgroups' arrangement over a chunk's part of the sum
#define SIMDS_N 4
#endif
#ifndef SIMDS_K
#define SIMDS_K 2
#endif

#include "gemm_output.h"
#include "gemm_params.h"
#include "tile.h"

#define SIMDS (SIMDS_N * SIMDS_K)
#define THREADS (32 * SIMDS)
#define STRIDE_C (CHUNK + TILE_PAD)
#define STRIDE_K (Z_K + TILE_PAD)
#define BLOCKS_N (CHUNK / 8 / SIMDS_N)  // 8x8 blocks of a simdgroup in a chunk's part of the sum
#define BLOCKS_K (Z_K / 8 / SIMDS_K)
#define Y_ROWS (PANEL / 8)  // simdgroups over the rows of Y; the others divide its columns
#define Y_BLOCKS ((Z_K / 8 + SIMDS / Y_ROWS - 1) / (SIMDS / Y_ROWS))
#if BLOCKS_K > 4 || Y_BLOCKS > 4 || PANEL > CHUNK
#error "multiply_blocks takes four blocks in a row, and Y must fit where a chunk of V was"
#endif

[[max_total_threads_per_threadgroup(THREADS)]] kernel void z_step(
    device const T* a [[buffer(0)]], device const T* v [[buffer(1)]], device O* out [[buffer(2)]],
    constant GemmParams& p [[buffer(3)]], uint3 group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint simd_index [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 a_tile[PANEL * STRIDE_C / 4];
  threadgroup float4 v_tile[CHUNK * STRIDE_K / 4];  // then Y, and at the end the sum
  threadgroup float* at = (threadgroup float*)a_tile;
  threadgroup float* vt = (threadgroup float*)v_tile;
  threadgroup float* yt = vt;
  int chunks = int((p.rows + CHUNK - 1) / CHUNK);
  long begin = group.x * p.slab, end = min(long(begin + p.slab), long(p.contraction));
  device const T* a_matrix = a + batch_offset(p.a_batch, p, group.z);
  device const T* v_matrix = v + batch_offset(p.b_batch, p, group.z);
  int y_row = simd_index % Y_ROWS * 8, y_column = simd_index / Y_ROWS * Y_BLOCKS * 8;
  int row = simd_index / SIMDS_K * BLOCKS_N * 8, column = simd_index % SIMDS_K * BLOCKS_K * 8;

  simdgroup_float8x8 sum[CHUNKS * BLOCKS_N * BLOCKS_K];
  fill_zero(sum, CHUNKS * BLOCKS_N * BLOCKS_K);
  for (long first = begin; first < end; first += PANEL) {
    device const T* panel = a_matrix + first * p.a_row;
    long rows_left = end - first;

    simdgroup_float8x8 y[Y_BLOCKS];
    fill_zero(y, Y_BLOCKS);
    for (int c = 0; c < chunks; c++) {
      threadgroup_barrier(mem_flags::mem_threadgroup);
      load_tile(at, PANEL, CHUNK, (device const uchar*)(panel + c * CHUNK * p.a_column), element_type(a), p.a_row,
                p.a_column, rows_left, p.rows - c * CHUNK, p.a_order, thread_index, THREADS);
      load_tile(vt, CHUNK, Z_K, (device const uchar*)(v_matrix + c * CHUNK * p.b_row), element_type(v), p.b_row,
                p.b_column, p.rows - c * CHUNK, p.columns, p.b_order, thread_index, THREADS);
      threadgroup_barrier(mem_flags::mem_threadgroup);
      if (y_column < Z_K) {
        multiply_blocks(y, 1, Y_BLOCKS, at + y_row * STRIDE_C, STRIDE_C, false, vt + y_column, STRIDE_K, CHUNK);
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (y_column < Z_K) {
      store_blocks(y, 1, Y_BLOCKS, yt + y_row * STRIDE_K + y_column, STRIDE_K);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (rows_left < PANEL) {  // rows beyond A are zero times V: not a number where V is not finite
      for (int i = int(rows_left) * STRIDE_K + thread_index; i < PANEL * STRIDE_K; i += THREADS) {
        yt[i] = 0.0f;
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
    }

    for (int c = chunks - 1; c >= 0; c--) {
      if (c != chunks - 1) {
        threadgroup_barrier(mem_flags::mem_threadgroup);
        load_tile(at, PANEL, CHUNK, (device const uchar*)(panel + c * CHUNK * p.a_column), element_type(a), p.a_row,
                  p.a_column, rows_left, p.rows - c * CHUNK, p.a_order, thread_index, THREADS);
        threadgroup_barrier(mem_flags::mem_threadgroup);
      }
#pragma unroll
      for (int i = 0; i < CHUNKS; i++) {  // constant indices keep the sum in registers
        if (i == c) {
          multiply_blocks(sum + i * BLOCKS_N * BLOCKS_K, BLOCKS_N, BLOCKS_K, at + row, STRIDE_C, true, yt + column,
                          STRIDE_K, PANEL);
        }
      }
    }
  }

  threadgroup_barrier(mem_flags::mem_threadgroup);
  device O* z = output_matrix(out, p, group.x, group.z);
#pragma unroll
  for (int c = 0; c < CHUNKS; c++) {
    if (c < chunks) {
      store_blocks(sum + c * BLOCKS_N * BLOCKS_K, BLOCKS_N, BLOCKS_K, vt + row * STRIDE_K + column, STRIDE_K);
      threadgroup_barrier(mem_flags::mem_threadgroup);
      write_rows(z, p, vt, CHUNK, Z_K, c * CHUNK, 0, thread_index, THREADS);
      threadgroup_barrier(mem_flags::mem_threadgroup);
    }
  }
}
