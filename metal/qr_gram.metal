// The products of QR by Cholesky's method (qr_cholesky.metal) with its tall matrix: A^T A, and A times a triangle, in
// numbers of twice float32's precision.
#include <metal_stdlib>
#include "qr_params.h"
#include "wide.h"
using namespace metal;

#define TILE QR_GRAM_TILE
#define SLAB 16           // rows, or columns of A, that a tile takes at a time
#define THREADS 256       // 8 simdgroups, each with 32 x 16 of a tile
#define PITCH (TILE + 4)  // of rows of a slab: four of them lie in different banks
#define ROW_PITCH (SLAB + 4)

// A simdgroup's 32 x 16 of a tile, as 2 x 2 products of 16 x 8: a lane has four entries of each.
struct Sums {
  Wide of[2][2][4];
};

inline void clear(thread Sums& sums) {
#pragma unroll
  for (int e = 0; e < 16; e++) {
    sums.of[e / 8][e / 4 % 2][e % 4] = wide(0.0f);
  }
}

// Where they lie in the tile, and the lane's part of operands.
struct Place {
  int row, column;
  int group, in_group;
};

inline int row_of(Place at, int i, int e) {
  return at.row + 16 * i + 8 * (e / 2) + at.group;
}

inline int column_of(Place at, int j, int e) {
  return at.column + 8 * j + 2 * at.in_group + e % 2;
}

inline Place place_of(uint simd, uint lane) {
  Place at;
  at.row = int(simd) / 4 * 32;
  at.column = int(simd) % 4 * 16;
  at.group = int(lane) / 4;
  at.in_group = int(lane) % 4;
  return at;
}

// sums += the product of 8 columns of the left by 8 rows of the right. Strides are those of the left's columns and rows
// and of the right's rows.
inline void add_products(threadgroup const Wide* left, int column_stride, int row_stride, threadgroup const Wide* right,
                         Place at, thread Sums& sums) {
  Wide a[2][4], b[2][2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
#pragma unroll
    for (int e = 0; e < 4; e++) {
      a[i][e] = left[(at.in_group + e / 2 * 4) * column_stride + (at.row + 16 * i + e % 2 * 8 + at.group) * row_stride];
    }
#pragma unroll
    for (int e = 0; e < 2; e++) {
      b[i][e] = right[(at.in_group + 4 * e) * PITCH + at.column + 8 * i + at.group];
    }
  }
#pragma unroll
  for (int i = 0; i < 2; i++) {
#pragma unroll
    for (int j = 0; j < 2; j++) {
      wide_multiply(sums.of[i][j], a[i], b[j]);
    }
  }
}

// Threads of a slab of the rows of A's columns [first, first + TILE): one column, every fourth row.
inline void read_slab(device const float* a, constant QrCholeskyParams& p, long row, long end, int first, uint index,
                      thread float* x) {
  const int column = first + int(index) % TILE;
#pragma unroll
  for (int i = 0; i < SLAB / 4; i++) {
    const long r = row + int(index) / TILE + 4 * i;
    x[i] = r < end && column < p.columns ? a[r * p.row_stride + column * p.column_stride] : 0.0f;
  }
}

inline void post_slab(threadgroup Wide* slab, uint index, thread const float* x) {
#pragma unroll
  for (int i = 0; i < SLAB / 4; i++) {
    slab[(int(index) / TILE + 4 * i) * PITCH + int(index) % TILE] = wide(x[i]);
  }
}

// The t-th tile of those on and above the diagonal, by columns.
struct TilePosition {
  int row, column;
};

inline TilePosition tile_position(int t) {
  TilePosition at;
  at.column = 0;
  while (t > at.column) {
    at.column++;
    t -= at.column;
  }
  at.row = t * TILE;
  at.column *= TILE;
  return at;
}

// parts[split][tile] = A^T A over the split's rows.
// Tile: 64 x 64. Threadgroup memory: 17.4 KB. Moves: A once for each 64 columns. Flops: rows columns^2, and as many
// again of tiles on the diagonal.
[[max_total_threads_per_threadgroup(THREADS)]] kernel void qr_gram(
    device const float* a [[buffer(0)]], device Wide* parts [[buffer(1)]], constant QrCholeskyParams& p [[buffer(2)]],
    uint3 group [[threadgroup_position_in_grid]], uint index [[thread_index_in_threadgroup]],
    uint simd [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  threadgroup Wide left[SLAB * PITCH], other[SLAB * PITCH];
  const int split = int(group.x) / p.tiles;
  const TilePosition tile = tile_position(int(group.x) % p.tiles);
  const bool is_diagonal = tile.row == tile.column;
  threadgroup const Wide* right = is_diagonal ? left : other;
  const long first = split * p.split_rows, end = min(p.rows, first + p.split_rows);
  const Place at = place_of(simd, lane);
  Sums sums;
  clear(sums);
  float x[SLAB / 4], y[SLAB / 4];
  read_slab(a, p, first, end, tile.row, index, x);
  if (!is_diagonal) {
    read_slab(a, p, first, end, tile.column, index, y);
  }
  for (long row = first; row < end; row += SLAB) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    post_slab(left, index, x);
    if (!is_diagonal) {
      post_slab(other, index, y);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    read_slab(a, p, row + SLAB, end, tile.row, index, x);  // arrives while products are made
    if (!is_diagonal) {
      read_slab(a, p, row + SLAB, end, tile.column, index, y);
    }
#pragma unroll
    for (int k = 0; k < SLAB; k += 8) {
      add_products(left + k * PITCH, PITCH, 1, right + k * PITCH, at, sums);
    }
  }
  parts += long(group.x) * (TILE * TILE);
#pragma unroll
  for (int e = 0; e < 16; e++) {
    parts[row_of(at, e / 8, e % 4) * TILE + column_of(at, e / 4 % 2, e % 4)] = sums.of[e / 8][e / 4 % 2][e % 4];
  }
}

// g (columns x columns) = the sum of the parts, on and above the diagonal.
// Tile: 32 entries, each simdgroup every eighth part of them. Threadgroup memory: 2 KB. Moves: the parts once.
[[max_total_threads_per_threadgroup(THREADS)]] kernel void qr_gram_sum(device const Wide* parts [[buffer(0)]],
                                                                       device Wide* g [[buffer(1)]],
                                                                       constant QrCholeskyParams& p [[buffer(2)]],
                                                                       uint3 group [[threadgroup_position_in_grid]],
                                                                       uint simd [[simdgroup_index_in_threadgroup]],
                                                                       uint lane [[thread_index_in_simdgroup]]) {
  threadgroup Wide partial[THREADS];
  const int groups_of_tile = TILE * TILE / 32, t = int(group.x) / groups_of_tile;
  const int entry = int(group.x) % groups_of_tile * 32 + int(lane);
  Wide sum = wide(0.0f);
  for (int s = int(simd); s < p.splits; s += THREADS / 32) {
    sum = wide_sum(sum, parts[(long(s) * p.tiles + t) * (TILE * TILE) + entry]);
  }
  partial[simd * 32 + lane] = sum;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (simd > 0) {
    return;
  }
  for (int s = 1; s < THREADS / 32; s++) {
    sum = wide_sum(sum, partial[s * 32 + int(lane)]);
  }
  const TilePosition tile = tile_position(t);
  const int row = tile.row + entry / TILE, column = tile.column + entry % TILE;
  if (row <= column && column < p.columns) {
    g[long(row) * p.columns + column] = sum;
  }
}

// Threads of the next SLAB columns of a tile's rows of A, and of as many rows of X.
inline void read_rows(device const float* a, constant QrCholeskyParams& p, long first, int begin, uint index,
                      thread float* x) {
  const int column = begin + int(index) % SLAB;
#pragma unroll
  for (int i = 0; i < SLAB / 4; i++) {
    const long row = first + int(index) / SLAB + THREADS / SLAB * i;
    x[i] = row < p.rows && column < p.columns ? a[row * p.row_stride + column * p.column_stride] : 0.0f;
  }
}

inline void read_triangle(device const Wide* x, int n, int begin, int first, uint index, thread Wide* entries) {
  const int column = first + int(index) % TILE;
#pragma unroll
  for (int i = 0; i < SLAB / 4; i++) {
    const int row = begin + int(index) / TILE + 4 * i;
    entries[i] = row <= column && column < n ? x[row * n + column] : wide(0.0f);
  }
}

// q = A X rounded to float32, X upper triangular.
// Tile: 64 x 64. Threadgroup memory: 19 KB. Moves: A once for each 64 columns, X once for each 64 rows.
// Flops: 2 rows columns^2, without the tiles below the diagonal.
[[max_total_threads_per_threadgroup(THREADS)]] kernel void qr_times(
    device const float* a [[buffer(0)]], device const Wide* x [[buffer(1)]], device float* q [[buffer(2)]],
    constant QrCholeskyParams& p [[buffer(3)]], uint3 group [[threadgroup_position_in_grid]],
    uint index [[thread_index_in_threadgroup]], uint simd [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  threadgroup Wide left[TILE * ROW_PITCH], right[SLAB * PITCH];
  const int n = p.columns, across = (n + TILE - 1) / TILE, first_column = int(group.x) % across * TILE;
  const long first_row = long(group.x) / across * TILE;
  const Place at = place_of(simd, lane);
  const int depth = min(n, first_column + TILE);
  Sums sums;
  clear(sums);
  float rows[SLAB / 4];
  Wide entries[SLAB / 4];
  read_rows(a, p, first_row, 0, index, rows);
  read_triangle(x, n, 0, first_column, index, entries);
  for (int begin = 0; begin < depth; begin += SLAB) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
    for (int i = 0; i < SLAB / 4; i++) {
      left[(int(index) / SLAB + THREADS / SLAB * i) * ROW_PITCH + int(index) % SLAB] = wide(rows[i]);
      right[(int(index) / TILE + 4 * i) * PITCH + int(index) % TILE] = entries[i];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    read_rows(a, p, first_row, begin + SLAB, index, rows);  // arrives while products are made
    read_triangle(x, n, begin + SLAB, first_column, index, entries);
#pragma unroll
    for (int k = 0; k < SLAB; k += 8) {
      add_products(left + k, 1, ROW_PITCH, right + k * PITCH, at, sums);
    }
  }
#pragma unroll
  for (int e = 0; e < 16; e++) {
    const long row = first_row + row_of(at, e / 8, e % 4);
    const int column = first_column + column_of(at, e / 4 % 2, e % 4);
    if (row < p.rows && column < n) {
      q[row * n + column] = narrow(sums.of[e / 8][e / 4 % 2][e % 4]);
    }
  }
}
