// Thin QR of matrices of more than QR_PANEL columns: Householder's method on panels of QR_PANEL columns, each factored
// by the tree of qr.metal. The panel's Q is turned into a block reflector H = I - V K V^T, V = Q - [S; 0] with a
// diagonal S of signs and K = (I - S Q1)^-T, Q1 the first rows of Q, for which H [S; 0] = Q. S is chosen as in
// Householder's method, so that K is well conditioned (Ballard, Demmel, Grigori, Jacquelin, Knight, Nguyen:
// Reconstructing Householder vectors from tall-skinny QR, 2015; there with V's triangular factor divided out). Being an
// orthogonal matrix whatever the panel, it keeps Q orthonormal where Gram-Schmidt would not.
//
// Launches: for each of the P = ceil(k / QR_PANEL) panels those of qr.metal, one of qr_reconstruct, and three for each
// of the P - 1 updates of the columns beside a panel and of the P updates of Q; two to begin Q and to collect R.
// Device memory: an update reads the columns twice and writes them once, and reads V twice for every 64 of them.
#include <metal_stdlib>
#include "qr_params.h"
using namespace metal;

#define TILE 64      // rows and columns of a tile of a product
#define SLAB 16      // what a tile takes at a time of the dimension that is summed over
#define THREADS 256  // 16 x 16, each 4 x 4 of a tile
#define STRIP 16     // columns that qr_multiply takes at a time

inline long batch_offset(constant QrBlockParams& p, long matrix) {
  long offset = 0;
  for (int i = p.c_batch_dims - 1; i >= 0; i--) {
    offset += matrix % p.c_batch_shape[i] * p.c_batch_strides[i];
    matrix /= p.c_batch_shape[i];
  }
  return offset;
}

// Makes V of the first rows of a panel's Q, and K by Gauss and Jordan. S_i is the sign that makes the i-th pivot the
// larger: 1 at least. S is NaN where Q is.
// Tile: one matrix a threadgroup. Threadgroup memory: 16.9 KB. Moves: reads width^2, writes as many. Flops: 2 width^3.
[[max_total_threads_per_threadgroup(THREADS)]] kernel void qr_reconstruct(
    device float* v [[buffer(0)]], device float* k [[buffer(1)]], device float* signs [[buffer(2)]],
    constant QrBlockParams& p [[buffer(3)]], uint3 group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float y[TILE * TILE];
  threadgroup float row[TILE], column[TILE], sign[TILE];
  const long matrix = p.first_group + group.x;
  const int width = p.width, index = int(thread_index), entries = width * width;
  v += matrix * p.v_matrix_stride;
  for (int e = index; e < entries; e += THREADS) {
    y[e] = v[e / width * p.v_stride + e % width];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);  // v is written at the end
  bool finite = true;
  for (int i = 0; i < width; i++) {
    if (index < width) {
      row[index] = y[i * width + index];
      column[index] = y[index * width + i];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const float s = row[i] < 0.0f ? 1.0f : -1.0f;
    const float pivot = row[i] - s, inverse = 1.0f / pivot;
    finite = finite && !isnan(pivot) && !isinf(pivot);
    if (index == i) {
      sign[i] = s;
    }
    for (int e = index; e < entries; e += THREADS) {
      const int r = e / width, c = e % width;
      const float right = c == i ? inverse : row[c] * inverse;
      y[e] = r == i ? right : fma(-column[r], right, c == i ? 0.0f : y[e]);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  k += matrix * entries;
  for (int e = index; e < entries; e += THREADS) {
    k[e] = -sign[e / width] * y[e % width * width + e / width];
  }
  if (index < width) {
    v[index * p.v_stride + index] -= sign[index];
    signs[matrix * p.out_matrix_stride + index] = finite ? sign[index] : as_type<float>(0x7fc00000u);
  }
}

// A threadgroup's tile of a product, and the thread's 4 x 4 of it.
struct Tile {
  long matrix, split;
  long row, column;
  int thread_row, thread_column;
};

inline Tile tile_of(constant QrBlockParams& p, uint group, uint thread_index, long rows) {
  const long down = (rows + TILE - 1) / TILE, across = (p.columns + TILE - 1) / TILE;
  Tile t;
  long rest = p.first_group + group;
  t.column = rest % across * TILE;
  rest /= across;
  t.row = rest % down * TILE;
  rest /= down;
  t.split = rest % p.splits;
  t.matrix = rest / p.splits;
  t.thread_row = int(thread_index) / 16 * 4;
  t.thread_column = int(thread_index) % 16 * 4;
  return t;
}

// acc += a column of four times a row of four.
inline void outer_product(float4 a, float4 b, thread float4* acc) {
  acc[0] = fma(float4(a.x), b, acc[0]);
  acc[1] = fma(float4(a.y), b, acc[1]);
  acc[2] = fma(float4(a.z), b, acc[2]);
  acc[3] = fma(float4(a.w), b, acc[3]);
}

// out (width x columns for each split) = V^T C over the split's rows. Sums of SLAB rows are added with compensation: of
// equal terms, rounding errors do not average out.
// Tile: 64 x 64. Threadgroup memory: 8 KB. Moves: V once for every 64 columns of C, C once for every 64 of V.
// Flops: 2 rows width columns.
[[max_total_threads_per_threadgroup(THREADS)]] kernel void qr_project(
    device const float* v [[buffer(0)]], device const float* c [[buffer(1)]], device float* out [[buffer(2)]],
    constant QrBlockParams& p [[buffer(3)]], uint3 group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float left[SLAB * TILE], right[SLAB * TILE];
  const Tile t = tile_of(p, group.x, thread_index, p.width);
  v += t.matrix * p.v_matrix_stride;
  c += batch_offset(p, t.matrix);
  float4 total[4], lost[4];
  for (int i = 0; i < 4; i++) {
    total[i] = lost[i] = float4(0.0f);
  }
  const long end = min(p.rows, (t.split + 1) * p.split_rows);
  for (long first = t.split * p.split_rows; first < end; first += SLAB) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int e = int(thread_index); e < SLAB * TILE; e += THREADS) {
      const long r = first + e / TILE, i = t.row + e % TILE, j = t.column + e % TILE;
      left[e] = r < end && i < p.width ? v[r * p.v_stride + i] : 0.0f;
      right[e] = r < end && j < p.columns ? c[r * p.c_row_stride + j * p.c_column_stride] : 0.0f;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    float4 part[4];
    for (int i = 0; i < 4; i++) {
      part[i] = -lost[i];
    }
    for (int s = 0; s < SLAB; s++) {
      outer_product(*(threadgroup const float4*)(left + s * TILE + t.thread_row),
                    *(threadgroup const float4*)(right + s * TILE + t.thread_column), part);
    }
    for (int i = 0; i < 4; i++) {
      const float4 sum = total[i] + part[i];
      lost[i] = (sum - total[i]) - part[i];
      total[i] = sum;
    }
  }
  out += t.matrix * p.out_matrix_stride + t.split * p.width * p.out_stride;
  for (int i = 0; i < 4; i++) {
    const long row = t.row + t.thread_row + i, column = t.column + t.thread_column;
    for (int j = 0; j < 4; j++) {
      if (row < p.width && column + j < p.columns) {
        out[row * p.out_stride + column + j] = total[i][j];
      }
    }
  }
}

// out (width x columns) = K or K^T times the sum of the splits.
// Tile: width x 16. Threadgroup memory: 4 KB. Moves: the splits once, K once for every 16 columns. Flops: 2 width^2
// columns.
[[max_total_threads_per_threadgroup(THREADS)]] kernel void qr_multiply(
    device const float* parts [[buffer(0)]], device const float* k [[buffer(1)]], device float* out [[buffer(2)]],
    constant QrBlockParams& p [[buffer(3)]], uint3 group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float sums[TILE * STRIP];
  const long strips = (p.columns + STRIP - 1) / STRIP, index = p.first_group + group.x;
  const long matrix = index / strips, column = (index - matrix * strips) * STRIP + thread_index % STRIP;
  const int width = p.width, first = int(thread_index) / STRIP, strip_column = int(thread_index) % STRIP;
  const long size = width * p.columns;
  parts += matrix * p.splits * size;
  for (int i = first; i < width; i += THREADS / STRIP) {
    float total = 0.0f, lost = 0.0f;
    for (int s = 0; s < p.splits && column < p.columns; s++) {
      const float part = parts[s * size + i * p.columns + column] - lost, sum = total + part;
      lost = (sum - total) - part;
      total = sum;
    }
    sums[i * STRIP + strip_column] = total;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  k += matrix * width * width;
  for (int i = first; i < width && column < p.columns; i += THREADS / STRIP) {
    float sum = 0.0f;
    for (int l = 0; l < width; l++) {
      sum = fma(k[p.transposed ? uint(l * width) + i : uint(i * width) + l], sums[l * STRIP + strip_column], sum);
    }
    out[matrix * size + i * p.columns + column] = sum;
  }
}

// The tile of C - V M. Every thread reads of C what it writes.
inline void update_tile(device const float* v, device const float* m, device const float* c, device float* out,
                        constant QrBlockParams& p, uint group, uint thread_index, threadgroup float* left,
                        threadgroup float* right) {
  const Tile t = tile_of(p, group, thread_index, p.rows);
  v += t.matrix * p.v_matrix_stride;
  m += t.matrix * p.width * p.columns;
  c += batch_offset(p, t.matrix);
  float4 acc[4];
  for (int i = 0; i < 4; i++) {
    acc[i] = float4(0.0f);
  }
  for (int first = 0; first < p.width; first += SLAB) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int e = int(thread_index); e < SLAB * TILE; e += THREADS) {
      const long r = t.row + e / SLAB, j = t.column + e % TILE;
      const int l = first + e % SLAB, i = first + e / TILE;
      left[e % SLAB * (TILE + 4) + e / SLAB] = r < p.rows && l < p.width ? v[r * p.v_stride + l] : 0.0f;
      right[e] = i < p.width && j < p.columns ? m[i * p.columns + j] : 0.0f;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int s = 0; s < SLAB; s++) {
      outer_product(*(threadgroup const float4*)(left + s * (TILE + 4) + t.thread_row),
                    *(threadgroup const float4*)(right + s * TILE + t.thread_column), acc);
    }
  }
  out += t.matrix * p.out_matrix_stride;
  for (int i = 0; i < 4; i++) {
    const long row = t.row + t.thread_row + i, column = t.column + t.thread_column;
    for (int j = 0; j < 4; j++) {
      if (row < p.rows && column + j < p.columns) {
        const float before = c[row * p.c_row_stride + (column + j) * p.c_column_stride];
        out[row * p.out_stride + column + j] = before - acc[i][j];
      }
    }
  }
}

#define LEFT (SLAB * (TILE + 4))

// C -= V M, rows x columns.
// Tile: 64 x 64. Threadgroup memory: 8.3 KB. Moves: C read and written once, V read once for every 64 columns.
// Flops: 2 rows width columns.
[[max_total_threads_per_threadgroup(THREADS)]] kernel void qr_update(
    device const float* v [[buffer(0)]], device const float* m [[buffer(1)]], device float* c [[buffer(2)]],
    constant QrBlockParams& p [[buffer(3)]], uint3 group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float left[LEFT], right[SLAB * TILE];
  update_tile(v, m, c, c, p, group.x, thread_index, left, right);
}

// out = C - V M, for the columns beside the first panel, which are the input's. As qr_update.
[[max_total_threads_per_threadgroup(THREADS)]] kernel void qr_update_input(
    device const float* v [[buffer(0)]], device const float* m [[buffer(1)]], device const float* c [[buffer(2)]],
    device float* out [[buffer(3)]], constant QrBlockParams& p [[buffer(4)]],
    uint3 group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float left[LEFT], right[SLAB * TILE];
  update_tile(v, m, c, out, p, group.x, thread_index, left, right);
}

// Q before the reflectors: [S; 0], or NaN where the last panel was not finite: what is not finite in one panel reaches
// all that follow.
// Tile: one entry a thread. Moves: writes Q once.
[[max_total_threads_per_threadgroup(THREADS)]] kernel void qr_begin(device float* q [[buffer(0)]],
                                                                    device const float* signs [[buffer(1)]],
                                                                    constant QrFinishParams& p [[buffer(2)]],
                                                                    uint3 group [[threadgroup_position_in_grid]],
                                                                    uint thread_index [[thread_index_in_threadgroup]]) {
  const long entry = (p.first_group + group.x) * THREADS + thread_index;
  const long row = entry / p.columns, column = entry - row * p.columns, matrix = row / p.rows;
  if (matrix >= p.matrices) {
    return;
  }
  signs += matrix * p.columns;
  const float last = signs[p.columns - 1];
  q[entry] = isnan(last) ? last : row - matrix * p.rows == column ? signs[column] : 0.0f;
}

// R beside the panels' blocks on its diagonal: S times the rows of the updated columns, zeros below. NaN where q is.
// Tile: one entry a thread. Moves: reads and writes R once.
[[max_total_threads_per_threadgroup(THREADS)]] kernel void qr_collect(
    device float* r [[buffer(0)]], device const float* w [[buffer(1)]], device const float* signs [[buffer(2)]],
    constant QrFinishParams& p [[buffer(3)]], uint3 group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  const long entry = (p.first_group + group.x) * THREADS + thread_index;
  const long rows = entry / p.columns, column = entry - rows * p.columns, matrix = rows / p.columns;
  if (matrix >= p.matrices) {
    return;
  }
  const long row = rows - matrix * p.columns, ld = p.columns - QR_PANEL;
  signs += matrix * p.columns;
  const float last = signs[p.columns - 1];
  device float* to = r + matrix * p.r_matrix_stride + row * p.r_stride + column;
  if (column / QR_PANEL > row / QR_PANEL) {
    *to = isnan(last) ? last : signs[row] * w[(matrix * p.rows + row) * ld + column - QR_PANEL];
  } else if (column / QR_PANEL < row / QR_PANEL) {
    *to = 0.0f;
  } else if (isnan(last) && column >= row) {
    *to = last;
  }
}
