// All distances between two sets of vectors: out (..., nq, nb) from xq (..., nq, d) and xb (..., nb, d), any strides.
//
// Squared L2 is a sum of squared differences, never the expanded form: equal vectors are at 0, and the error is
// relative to the distance itself. Sums are in two levels, DEPTH columns and then those sums, so that the error grows
// with d / DEPTH + DEPTH rather than d.
//
// Tile: TILE x TILE outputs a threadgroup of 256 threads, 4 x 4 a thread; DEPTH columns at a time.
// Threadgroup memory: 2 * DEPTH * (TILE + 1) * 4 = 16640 bytes.
// Bytes moved per output: 4 written, and (size of TQ + size of TB) * d / TILE read.
#include <metal_stdlib>
#include "batch.h"
#include "pairwise_distances_params.h"
using namespace metal;

#ifndef TQ
#define TQ float
#endif
#ifndef TB
#define TB float
#endif
#ifndef L2
#define L2 1
#endif

#define TILE 64
#define DEPTH 32
#define ROW (TILE + 1)  // avoids bank conflicts of the transposed store
#define THREADS 256

kernel void pairwise_distances(device const TQ* xq [[buffer(0)]], device const TB* xb [[buffer(1)]],
                               device float* out [[buffer(2)]], constant PairwiseDistancesParams& p [[buffer(3)]],
                               uint3 group [[threadgroup_position_in_grid]],
                               uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float q_tile[DEPTH * ROW];
  threadgroup float b_tile[DEPTH * ROW];
  BatchOffsets at = batch_offsets(p.batch, group.z);
  long first_q = long(p.first_row) + long(group.y) * TILE, first_b = long(group.x) * TILE;
  uint tx = thread_index % 16u, ty = thread_index / 16u;

  float total[4][4];
  for (uint i = 0; i < 4u; i++) {
    for (uint j = 0; j < 4u; j++) {
      total[i][j] = 0.0f;
    }
  }
  for (int first = 0; first < p.d; first += DEPTH) {
    for (uint e = thread_index; e < uint(TILE * DEPTH); e += THREADS) {
      uint row = e / DEPTH, column = e % DEPTH;
      long r_q = first_q + long(row), r_b = first_b + long(row), c = long(first) + long(column);
      bool inside = c < long(p.d);
      q_tile[column * ROW + row] = inside && r_q < long(p.nq) ? float(xq[at.a + r_q * p.q_row + c * p.q_col]) : 0.0f;
      b_tile[column * ROW + row] = inside && r_b < long(p.nb) ? float(xb[at.b + r_b * p.b_row + c * p.b_col]) : 0.0f;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    float sum[4][4];
    for (uint i = 0; i < 4u; i++) {
      for (uint j = 0; j < 4u; j++) {
        sum[i][j] = 0.0f;
      }
    }
    for (uint c = 0; c < uint(DEPTH); c++) {
      float q[4], b[4];
      for (uint i = 0; i < 4u; i++) {
        q[i] = q_tile[c * ROW + ty * 4u + i];
        b[i] = b_tile[c * ROW + tx + i * 16u];
      }
      for (uint i = 0; i < 4u; i++) {
        for (uint j = 0; j < 4u; j++) {
#if L2
          float difference = q[i] - b[j];
          sum[i][j] = fma(difference, difference, sum[i][j]);
#else
          sum[i][j] = fma(q[i], b[j], sum[i][j]);
#endif
        }
      }
    }
    for (uint i = 0; i < 4u; i++) {
      for (uint j = 0; j < 4u; j++) {
        total[i][j] += sum[i][j];
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  long base = p.out_offset + long(group.z) * p.out_batch;
  for (uint i = 0; i < 4u; i++) {
    long row = first_q + long(ty * 4u + i);
    for (uint j = 0; j < 4u; j++) {
      long column = first_b + long(tx + j * 16u);
      if (row < long(p.nq) && column < long(p.nb)) {
        out[base + row * long(p.nb) + column] = total[i][j];
      }
    }
  }
}
