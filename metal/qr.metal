// Thin QR of matrices of at most QR_PANEL columns, by a tree over their rows (TSQR: Demmel, Grigori, Hoemmen, Langou:
// Communication-optimal parallel and sequential QR, 2012).
//
// A leaf is the rows that one threadgroup holds in registers. Going up, every leaf is factored and leaves only its R;
// the Rs stand on each other as the matrix of the next level, until that is one leaf, the root. Going down, every leaf
// is factored again, which moves less than keeping its reflectors in memory, and turns its n rows of the parents' Q
// into its own rows of Q.
//
// Tile: L = simdgroups * 32 / LANES * ROWS rows (512 to 2048) x n <= WIDTH = LANES * COLS columns, one threadgroup.
// Levels above the leaves: d = ceil(log(m / L) / log(L / n)). Launches: 1 where m <= L, otherwise 2 d + 1. A level's
// matrix has 1 / (L / n) of the rows of the one below.
// Device memory, for 16 simdgroups, in units of A: A read twice, Q written once, and of the tree, t = n / L (at most
// 1/10): triangles written once and read twice, 3 t / 2, the parents' Q written and read once, 2 t; 1 / (1 - t) of that
// with all levels.
// Flops: 2 m n^2 up, 2 m n^2 + 3 m n^2 down; dot products of columns that are done and updates of columns that
// are done run with the others: about twice that is issued.
#include <metal_stdlib>
#include "qr_leaf.h"
#include "qr_params.h"
using namespace metal;

// What a threadgroup factors: `rows` rows of a matrix from the row `first`.
struct Leaf {
  long index, matrix, first;
  int rows;
};

inline Leaf leaf_of(constant QrParams& p, uint group) {
  Leaf leaf;
  leaf.index = p.first_group + group;
  leaf.matrix = leaf.index / p.leaves;
  leaf.first = (leaf.index - leaf.matrix * p.leaves) * p.leaf_rows;
  leaf.rows = int(min(p.rows - leaf.first, long(p.leaf_rows)));
  return leaf;
}

// The way up: R of each leaf, rows [0, n) of its n x n block of `r`, nothing below the diagonal.
// Threadgroup memory: 2 simdgroups (GROUPS (ROWS + 4) + WIDTH) + 2 WIDTH floats, at most 20 KB. Reads the leaf once.
[[max_total_threads_per_threadgroup(512)]] kernel void qr_factor(
    device const float* a [[buffer(0)]], device float* r [[buffer(1)]], constant QrParams& p [[buffer(2)]],
    threadgroup float* work [[threadgroup(0)]], uint3 group [[threadgroup_position_in_grid]],
    uint lane [[thread_index_in_simdgroup]], uint simd [[simdgroup_index_in_threadgroup]],
    uint simds [[simdgroups_per_threadgroup]]) {
  const Place at = place_of(simd, simds, lane);
  const Leaf leaf = leaf_of(p, group.x);
  float c[ROWS * COLS], inverse[COLS], diagonal[COLS], length[COLS];
  load_rows(a + matrix_offset(p, leaf.matrix), p, leaf.first, leaf.rows, at, c);
  scale_columns(c, at, work, inverse);
  factor(c, p, at, work, false, work, diagonal, length);
  device float* out = r + leaf.index * p.columns * p.columns;
#pragma unroll
  for (int i = 0; i < ROWS; i++) {
    const int row = at.row + i;
#pragma unroll
    for (int b = 0; b < COLS; b++) {
      const int column = at.column + b * LANES;
      if (row <= column && column < p.columns) {
        out[uint(row * p.columns) + column] = (row == column ? diagonal[b] : c[i * COLS + b]) * inverse[b];
      }
    }
  }
}

// The root, and small matrices: R, its diagonal >= 0, and Q of matrices of one leaf. Both are NaN where the matrix is
// not finite.
// Threadgroup memory: WIDTH^2 + max(WIDTH^2, that of qr_factor) floats, at most 32 KB. Reads A once, writes Q and R
// once.
[[max_total_threads_per_threadgroup(512)]] kernel void qr_root(
    device const float* a [[buffer(0)]], device float* q [[buffer(1)]], device float* r [[buffer(2)]],
    constant QrParams& p [[buffer(3)]], threadgroup float* square [[threadgroup(0)]],
    uint3 group [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]],
    uint simd [[simdgroup_index_in_threadgroup]], uint simds [[simdgroups_per_threadgroup]]) {
  const Place at = place_of(simd, simds, lane);
  const long matrix = p.first_group + group.x;
  const int rows = int(p.rows), columns = p.columns;
  threadgroup float* work = square + WIDTH * WIDTH;
  float c[ROWS * COLS], inverse[COLS], diagonal[COLS], length[COLS], sign[COLS];
  load_rows(a + matrix_offset(p, matrix), p, 0, rows, at, c);
  scale_columns(c, at, work, inverse);
  factor(c, p, at, work, true, square, diagonal, length);

  float size = 0.0f;
#pragma unroll
  for (int b = 0; b < COLS; b++) {
    size = isnan(diagonal[b]) || isinf(diagonal[b]) ? 1.0f : size;
  }
  const bool finite = simd_max(size) == 0.0f;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  threadgroup float* signs = work;
#pragma unroll
  for (int b = 0; b < COLS; b++) {
    sign[b] = !finite ? as_type<float>(0x7fc00000u) : diagonal[b] < 0.0f ? -1.0f : 1.0f;
    if (at.simd == 0 && at.group == 0) {
      signs[at.column + b * LANES] = sign[b];
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  r += matrix * p.r_matrix_stride;
#pragma unroll
  for (int i = 0; i < ROWS; i++) {
    const int row = at.row + i;
#pragma unroll
    for (int b = 0; b < COLS; b++) {
      const int column = at.column + b * LANES;
      if (row < columns && column < columns) {
        const float value = row == column ? diagonal[b] : c[i * COLS + b];
        r[row * p.r_stride + column] = row > column ? 0.0f : value * inverse[b] * signs[row];
      }
    }
  }
  reflectors(c, p, at, diagonal, length, square);
  threadgroup_barrier(mem_flags::mem_threadgroup);

  // Q = (I - U T U^T) [I; 0], its columns with R's signs.
  threadgroup float* mix = work;
  const int index = at.simd * 32 + at.lane, threads = at.simds * 32;
  for (int i = index; i < columns * WIDTH; i += threads) {
    const int row = i / WIDTH, column = i % WIDTH;
    mix[i] = column >= row && column < columns ? square[column * WIDTH + row] : 0.0f;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  solve_gram(columns, square, mix, index, threads);
  q += matrix * rows * columns;
#pragma unroll
  for (int first = 0; first < ROWS; first += 8) {
    float acc[8 * COLS];
#pragma unroll
    for (int i = 0; i < 8 * COLS; i++) {
      acc[i] = at.row + first + i / COLS == at.column + i % COLS * LANES ? 1.0f : 0.0f;
    }
    subtract_product(c, first, columns, at, mix, acc);
#pragma unroll
    for (int i = 0; i < 8 * COLS; i++) {
      const int row = at.row + first + i / COLS, column = at.column + i % COLS * LANES;
      if (row < rows && column < columns) {
        q[uint(row * columns) + column] = acc[i] * sign[i % COLS];
      }
    }
  }
}

// The way down: the rows of Q of a leaf from its n x n block of the parents' Q.
// Threadgroup memory: as qr_root. Reads the leaf once and its block twice, writes its rows of Q once.
[[max_total_threads_per_threadgroup(512)]] kernel void qr_form(
    device const float* a [[buffer(0)]], device const float* parents [[buffer(1)]], device float* q [[buffer(2)]],
    constant QrParams& p [[buffer(3)]], threadgroup float* square [[threadgroup(0)]],
    uint3 group [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]],
    uint simd [[simdgroup_index_in_threadgroup]], uint simds [[simdgroups_per_threadgroup]]) {
  const Place at = place_of(simd, simds, lane);
  const Leaf leaf = leaf_of(p, group.x);
  const int columns = p.columns;
  threadgroup float* work = square + WIDTH * WIDTH;
  float c[ROWS * COLS], inverse[COLS], diagonal[COLS], length[COLS];
  load_rows(a + matrix_offset(p, leaf.matrix), p, leaf.first, leaf.rows, at, c);
  scale_columns(c, at, work, inverse);
  factor(c, p, at, work, true, square, diagonal, length);
  reflectors(c, p, at, diagonal, length, square);
  threadgroup_barrier(mem_flags::mem_threadgroup);

  // Q = (I - U T U^T) [parent; 0].
  threadgroup float* mix = work;
  const int index = at.simd * 32 + at.lane, threads = at.simds * 32;
  device const float* parent = parents + leaf.index * columns * columns;
  for (int i = index; i < columns * WIDTH; i += threads) {
    const int row = i / WIDTH, column = i % WIDTH;
    mix[i] = column < columns ? parent[uint(row * columns) + column] : 0.0f;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  multiply_reflectors(columns, square, mix, index, threads);
  solve_gram(columns, square, mix, index, threads);
  q += (leaf.matrix * p.rows + leaf.first) * columns;
#pragma unroll
  for (int first = 0; first < ROWS; first += 8) {
    float acc[8 * COLS];
#pragma unroll
    for (int i = 0; i < 8 * COLS; i++) {
      const int row = at.row + first + i / COLS, column = at.column + i % COLS * LANES;
      acc[i] = row < min(columns, leaf.rows) && column < columns ? parent[uint(row * columns) + column] : 0.0f;
    }
    subtract_product(c, first, columns, at, mix, acc);
#pragma unroll
    for (int i = 0; i < 8 * COLS; i++) {
      const int row = at.row + first + i / COLS, column = at.column + i % COLS * LANES;
      if (row < leaf.rows && column < columns) {
        q[uint(row * columns) + column] = acc[i];
      }
    }
  }
}
