// A^T (A V) in one pass over A, on tensor cores (tensor_tile.h): for executors of NVIDIA GPUs. n <= 512, k <= 32.
//
// Each simdgroup has 64 columns of A and the same 64 rows of V, which stay in its registers, and of the n x k sum.
// A threadgroup takes the panels of PANEL rows of one slab; while it computes with one, the next is on its way. Of a
// panel every simdgroup makes its part of Y = A V; the parts are added, and every simdgroup adds A^T Y to its rows of
// the sum: a panel is read once from memory, and twice from threadgroup memory. gemm_sum (gemm.metal) adds the slabs.
//
// Threadgroup memory, for n = 512 and k = 32: two panels of 65 KB, parts of Y 32 KB, Y 8 KB. Registers: V and the sum
// take 64 each, sums of a panel as many; NVRTC keeps half of V in local memory. Bytes moved: A once; V once a slab,
// from a cache; 8 slabs n k of the sums.
//
// Tensor cores know no infinities here: the difference of an infinity and its high part is NaN. A slab whose sum is
// not finite is computed again without them.
#include <metal_stdlib>
#include "gemm_params.h"
#include "tensor_tile.h"
using namespace metal;

#ifndef PANEL  // rows: 16 or 32
#define PANEL 32
#endif
#ifndef K_TILES  // ceil(k / 8)
#define K_TILES 4
#endif
#ifndef SIMDS  // ceil(n / 64)
#define SIMDS 8
#endif

#define O float
#include "gemm_output.h"

#define THREADS (32 * SIMDS)
#define M_TILES (PANEL / 16)
#define STRIDE (64 * SIMDS + 8)        // of a panel's rows: neither product's pairs of floats meet in a bank
#define PART (M_TILES * K_TILES * 32)  // float4s of a simdgroup's part of Y: four numbers a lane and tile
#define Y_STEP (K_TILES * 32)          // floats of a quarter of eight rows of Y

struct Place {
  int simd, lane, g, t, column;  // column: the simdgroup's first
};

// Begins to copy the simdgroup's columns of a panel; rows and columns beyond A become zeros.
inline void load_panel(threadgroup float* tile, device const float* a, constant GemmParams& p, long first, long end,
                       Place at) {
  int column = at.column + at.lane % 16 * 4, rows = column < p.rows ? int(min(end - first, long(PANEL))) : 0;
  device const float* from = a + (first + at.lane / 16) * p.a_row + column;
  threadgroup float* to = tile + at.lane / 16 * STRIDE + column;
#pragma unroll
  for (int i = 0; i < PANEL; i += 2) {
    bool exists = i + at.lane / 16 < rows;
    copy_later(to + i * STRIDE, exists ? from : a, exists);
    from += 2 * p.a_row;
  }
  copy_group();
}

inline void split(thread const float* x, int count, thread float* high, thread float* low) {
#pragma unroll
  for (int i = 0; i < count; i++) {
    high[i] = tensor_high(x[i]);
    low[i] = x[i] - high[i];
  }
}

// sums += a b for K_TILES tiles of b, of which [0, 2) of each pair is the high part's.
inline void multiply_tiles(thread float* big, thread float* small, thread const float* a, thread const float* b_high,
                           thread const float* b_low) {
  float high[4], low[4];
  split(a, 4, high, low);
#pragma unroll
  for (int n = 0; n < K_TILES; n++) {
    tensor_multiply(big + 4 * n, high, b_high + 2 * n);
    tensor_multiply(small + 4 * n, high, b_low + 2 * n);
    tensor_multiply(small + 4 * n, low, b_high + 2 * n);
  }
}

inline void clear(thread float* x, int count) {
#pragma unroll
  for (int i = 0; i < count; i++) {
    x[i] = 0.0f;
  }
}

// The simdgroup's part of Y, to `part`.
inline void multiply_v(threadgroup const float* tile, thread const float* v, threadgroup float4* part, Place at) {
  float big[M_TILES * K_TILES * 4], small[M_TILES * K_TILES * 4];
  clear(big, M_TILES * K_TILES * 4);
  clear(small, M_TILES * K_TILES * 4);
#pragma unroll
  for (int s = 0; s < 8; s++) {
    float v_high[2 * K_TILES], v_low[2 * K_TILES];
    float of_v[2 * K_TILES];
#pragma unroll
    for (int i = 0; i < 2 * K_TILES; i++) {
      of_v[i] = tensor_opaque(v[s * 2 * K_TILES + i]);
    }
    split(of_v, 2 * K_TILES, v_high, v_low);
#pragma unroll
    for (int m = 0; m < M_TILES; m++) {
      threadgroup const float* from = tile + (16 * m + at.g) * STRIDE + at.column + 8 * s + 2 * at.t;
      float2 upper = *(threadgroup const float2*)from, lower = *(threadgroup const float2*)(from + 8 * STRIDE);
      float a[4] = {upper.x, lower.x, upper.y, lower.y};
      multiply_tiles(big + m * K_TILES * 4, small + m * K_TILES * 4, a, v_high, v_low);
    }
  }
#pragma unroll
  for (int i = 0; i < M_TILES * K_TILES; i++) {
    part[i * 32 + at.lane] = float4(big[4 * i] + small[4 * i], big[4 * i + 1] + small[4 * i + 1],
                                    big[4 * i + 2] + small[4 * i + 2], big[4 * i + 3] + small[4 * i + 3]);
  }
}

// Adds the parts of Y. Of every eight rows: the high parts of the upper four and the lower four, then the low parts,
// each as a lane of the second product wants it.
inline void add_parts(threadgroup const float4* parts, threadgroup float* y, int thread_index) {
  for (int i = thread_index; i < PART; i += THREADS) {
    float4 sum = parts[i];
    for (int s = 1; s < SIMDS; s++) {
      sum += parts[s * PART + i];
    }
    int lane = i % 32, tile = i / 32, n = tile % K_TILES;
    for (int j = 0; j < 4; j++) {
      int row = lane / 4 % 4, lower = lane / 16, column = lane % 4 * 2 + j % 2;
      threadgroup float* to = y + ((tile / K_TILES * 2 + j / 2) * 4 + lower) * Y_STEP + n * 32 + column * 4 + row;
      float x = j == 0 ? sum.x : j == 1 ? sum.y : j == 2 ? sum.z : sum.w, high = tensor_high(x);
      *to = high;
      to[2 * Y_STEP] = x - high;
    }
  }
}

// sum += A^T Y.
inline void multiply_y(thread float* sum, threadgroup const float* tile, threadgroup const float* y, Place at) {
#pragma unroll
  for (int pair = 0; pair < 2; pair++) {
    float big[2 * K_TILES * 4], small[2 * K_TILES * 4];
    clear(big, 2 * K_TILES * 4);
    clear(small, 2 * K_TILES * 4);
#pragma unroll
    for (int s = 0; s < PANEL / 8; s++) {
      float y_high[2 * K_TILES], y_low[2 * K_TILES];
#pragma unroll
      for (int i = 0; i < 2 * K_TILES; i++) {
        threadgroup const float* from = y + (s * 4 + i % 2) * Y_STEP + i / 2 * 32 + at.lane;
        y_high[i] = *from;
        y_low[i] = from[2 * Y_STEP];
      }
#pragma unroll
      for (int m = 0; m < 2; m++) {
        threadgroup const float* from = tile + (8 * s + at.t) * STRIDE + at.column + 32 * pair + 16 * m + 2 * at.g;
        float2 upper = *(threadgroup const float2*)from, lower = *(threadgroup const float2*)(from + 4 * STRIDE);
        float a[4] = {upper.x, upper.y, lower.x, lower.y};
        multiply_tiles(big + m * K_TILES * 4, small + m * K_TILES * 4, a, y_high, y_low);
      }
    }
#pragma unroll
    for (int i = 0; i < 2 * K_TILES * 4; i++) {
      sum[pair * 2 * K_TILES * 4 + i] += big[i] + small[i];
    }
  }
}

// The number of the sum that a thread's i-th one is: its row and column.
inline int2 place_in_sum(int i, Place at) {
  int tile = i / 4;
  return int2(at.column + tile / K_TILES * 16 + 2 * at.g + i % 4 / 2, tile % K_TILES * 8 + 2 * at.t + i % 2);
}

// The same sum without tensor cores, and without haste.
inline void add_slowly(device float* z, device const float* a, device const float* v, constant GemmParams& p,
                       long begin, long end, threadgroup float* y, int thread_index) {
  int size = int(p.rows * p.columns);
  for (int i = thread_index; i < size; i += THREADS) {
    z[i] = 0.0f;
  }
  for (long row = begin; row < end; row++) {
    device const float* a_row = a + row * p.a_row;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int i = thread_index; i < p.columns; i += THREADS) {
      float x = 0.0f;
      for (int j = 0; j < p.rows; j++) {
        x = fma(a_row[j], v[j * p.b_row + i * p.b_column], x);
      }
      y[i] = x;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int i = thread_index; i < size; i += THREADS) {
      z[i] = fma(a_row[i / p.columns], y[i % p.columns], z[i]);
    }
  }
}

// The sum of a slab, by all threads.
inline void make_slab(device const float* a, device const float* v, device float* out, constant GemmParams& p,
                      threadgroup float* memory, uint slab, uint simd_index, uint lane) {
  threadgroup float4* parts = (threadgroup float4*)(memory + 2 * PANEL * STRIDE);
  threadgroup float* y = memory + 2 * PANEL * STRIDE + SIMDS * 4 * PART;
  Place at;
  at.simd = int(simd_index);
  at.lane = int(lane);
  at.g = at.lane / 4;
  at.t = at.lane % 4;
  at.column = 64 * at.simd;
  int thread_index = at.simd * 32 + at.lane;
  long begin = slab * p.slab, end = min(long(begin + p.slab), long(p.contraction));

  float part_of_v[16 * K_TILES], sum[16 * K_TILES];
  clear(sum, 16 * K_TILES);
  load_panel(memory, a, p, begin, end, at);
#pragma unroll
  for (int i = 0; i < 16 * K_TILES; i++) {
    int row = at.column + i / (2 * K_TILES) * 8 + 2 * at.t + i % 2, column = i / 2 % K_TILES * 8 + at.g;
    part_of_v[i] = row < p.rows && column < p.columns ? v[row * p.b_row + column * p.b_column] : 0.0f;
  }
  int turn = 0;
  for (long first = begin; first < end; first += PANEL) {
    threadgroup const float* tile = memory + turn * PANEL * STRIDE;
    turn = 1 - turn;
    bool is_last = first + PANEL >= end;
    if (!is_last) {
      load_panel(memory + turn * PANEL * STRIDE, a, p, first + PANEL, end, at);
    }
    copy_wait(!is_last);
    multiply_v(tile, part_of_v, parts + at.simd * PART, at);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    add_parts(parts, y, thread_index);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    multiply_y(sum, tile, y, at);
    simdgroup_barrier(mem_flags::mem_threadgroup);
  }

  // Whether any number of the slab's is not finite.
  bool finite = true;
#pragma unroll
  for (int i = 0; i < 16 * K_TILES; i++) {
    finite = finite && isfinite(sum[i]);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  bool all_finite = simd_all(finite);
  if (at.lane == 0) {
    y[at.simd] = all_finite ? 0.0f : 1.0f;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float not_finite = 0.0f;
  for (int s = 0; s < SIMDS; s++) {
    not_finite += y[s];
  }
  device float* z = output_matrix(out, p, slab, 0u);
  if (not_finite > 0.0f) {
    add_slowly(z, a, v, p, begin, end, y + SIMDS, thread_index);
    return;
  }
#pragma unroll
  for (int i = 0; i < 16 * K_TILES; i++) {
    int2 place = place_in_sum(i, at);
    if (place.x < p.rows && place.y < p.columns) {
      z[place.x * p.columns + place.y] = sum[i];
    }
  }
}

[[max_total_threads_per_threadgroup(THREADS)]] kernel void z_step_tensor(
    device const float* a [[buffer(0)]], device const float* v [[buffer(1)]], device float* out [[buffer(2)]],
    constant GemmParams& p [[buffer(3)]], threadgroup float* memory [[threadgroup(0)]],
    uint3 group [[threadgroup_position_in_grid]], uint simd_index [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  make_slab(a, v, out, p, memory, group.x, simd_index, lane);
}

// The slabs that z_step_half.metal flagged.
[[max_total_threads_per_threadgroup(THREADS)]] kernel void z_step_repair(
    device const float* a [[buffer(0)]], device const float* v [[buffer(1)]], device float* out [[buffer(2)]],
    device const uint* flags [[buffer(3)]], constant GemmParams& p [[buffer(4)]],
    threadgroup float* memory [[threadgroup(0)]], uint3 group [[threadgroup_position_in_grid]],
    uint simd_index [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  if (flags[group.x] != 0u) {
    make_slab(a, v, out, p, memory, group.x, simd_index, lane);
  }
}
