// Householder's method on the rows of one threadgroup, held in registers.
//
// A simdgroup holds GROUPS x ROWS rows: lane l has rows ROWS * (l / LANES) + [0, ROWS) of columns l % LANES + LANES *
// b, b < COLS. Rows and columns beyond the matrix are zeros. Columns are scaled by powers of two, so that squares
// neither overflow nor vanish. A reflector is H = I - u u^T with u^T u = 2, or u = 0.
//
// Every product and sum is an fma: R, which one kernel computes, and the reflectors, which another computes again, must
// be of the same bits.
#pragma once
#include <metal_stdlib>
#include "qr_params.h"
using namespace metal;

#ifndef LANES
#define LANES 32  // lanes that share a row: 8, 16 or 32
#endif
#ifndef COLS
#define COLS 2  // columns of a lane
#endif
#ifndef ROWS
#define ROWS 32  // rows of a lane, a multiple of 8
#endif

#define GROUPS (32 / LANES)     // of lanes in a simdgroup
#define WIDTH (LANES * COLS)    // columns of a threadgroup
#define COLUMN_ROWS (ROWS + 4)  // room for a group's part of a column: apart in the banks of threadgroup memory
#define NEGLIGIBLE 1e-30f       // squared length of what is left of a column whose largest entry is at least 1

// Who a thread is.
struct Place {
  int simd, simds;
  int lane, group, column, row;  // column and row: the first
};

inline Place place_of(uint simd, uint simds, uint lane) {
  Place at;
  at.simd = int(simd);
  at.simds = int(simds);
  at.lane = int(lane);
  at.group = at.lane / LANES;
  at.column = at.lane % LANES;
  at.row = (at.simd * GROUPS + at.group) * ROWS;
  return at;
}

// Threadgroup memory of factor(), in floats: columns, sums and pivot rows, each twice.
inline int columns_size(int simds) {
  return 2 * simds * GROUPS * COLUMN_ROWS;
}

inline int sums_size(int simds) {
  return 2 * simds * WIDTH;
}

inline long matrix_offset(constant QrParams& p, long matrix) {
  long offset = 0;
  for (int i = p.batch_dims - 1; i >= 0; i--) {
    offset += matrix % p.batch_shape[i] * p.batch_strides[i];
    matrix /= p.batch_shape[i];
  }
  return offset;
}

// Reads the rows of a leaf, which begins at row `first` of the matrix at `a`.
inline void load_rows(device const float* a, constant QrParams& p, long first, int rows, Place at, thread float* c) {
  const int from_triangle = p.triangles ? int((first + at.row) % p.columns) : 0;
  int above = from_triangle;  // entries of the row that lie below the diagonal
#pragma unroll
  for (int i = 0; i < ROWS; i++) {
#pragma unroll
    for (int b = 0; b < COLS; b++) {
      const int column = at.column + b * LANES;
      const bool inside = at.row + i < rows && column < p.columns && column >= above;
      c[i * COLS + b] = inside ? a[(first + at.row + i) * p.row_stride + column * p.column_stride] : 0.0f;
    }
    above = !p.triangles || above + 1 == p.columns ? 0 : above + 1;
  }
}

// The power of two that brings numbers of this size to [1, 2), within what normal numbers allow; and its inverse.
inline int exponent_of(float size) {
  return clamp(int(as_type<uint>(size) >> 23 & 255) - 127, -126, 126);
}

inline float power_of_two(int exponent) {
  return as_type<float>(uint(127 + exponent) << 23);
}

// Scales the columns and returns the inverse scales in `inverse`. Ends with a barrier.
inline void scale_columns(thread float* c, Place at, threadgroup float* work, thread float* inverse) {
  threadgroup float* sizes = work + columns_size(at.simds);
#pragma unroll
  for (int b = 0; b < COLS; b++) {
    float size = 0.0f;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
      size = max(size, abs(c[i * COLS + b]));
    }
#pragma unroll
    for (int offset = LANES; offset < 32; offset *= 2) {
      size = max(size, simd_shuffle_xor(size, ushort(offset)));
    }
    if (at.group == 0) {
      sizes[at.simd * WIDTH + at.column + b * LANES] = size;
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
  for (int b = 0; b < COLS; b++) {
    float size = 0.0f;
    for (int s = 0; s < at.simds; s++) {
      size = max(size, sizes[s * WIDTH + at.column + b * LANES]);
    }
    const int exponent = exponent_of(size);
    inverse[b] = power_of_two(exponent);
    const float scale = power_of_two(-exponent);
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
      c[i * COLS + b] *= scale;
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

// Puts the group's rows of column k into `x`, zeros above row k, and row k, whoever has it, into `pivot`.
inline void post_column(thread const float* c, Place at, int k, threadgroup float* x, threadgroup float* pivot) {
  const int above = k - at.row;
  if (at.column == k % LANES) {
    const bool first = k < LANES;
#pragma unroll
    for (int i = 0; i < ROWS; i += 4) {
      float4 v;
      v.x = i + 0 < above ? 0.0f : first ? c[(i + 0) * COLS] : c[(i + 0) * COLS + COLS - 1];
      v.y = i + 1 < above ? 0.0f : first ? c[(i + 1) * COLS] : c[(i + 1) * COLS + COLS - 1];
      v.z = i + 2 < above ? 0.0f : first ? c[(i + 2) * COLS] : c[(i + 2) * COLS + COLS - 1];
      v.w = i + 3 < above ? 0.0f : first ? c[(i + 3) * COLS] : c[(i + 3) * COLS + COLS - 1];
      *(threadgroup float4*)(x + i) = v;
    }
  }
  if (above >= 0 && above < ROWS) {
#pragma unroll
    for (int b = 0; b < COLS; b++) {
      float v = 0.0f;
#pragma unroll
      for (int i = 0; i < ROWS; i++) {
        v = i == above ? c[i * COLS + b] : v;
      }
      pivot[at.column + b * LANES] = v;
    }
  }
}

// d[b] = x^T c over all rows of the threadgroup. Pairs of threads that exchange x are of one simdgroup; a barrier of
// the threadgroup lies inside where there is more than one.
inline void dot_column(thread const float* c, Place at, threadgroup const float* x, threadgroup float* sums,
                       thread float* d) {
#pragma unroll
  for (int b = 0; b < COLS; b++) {
    d[b] = 0.0f;
  }
#pragma unroll
  for (int i = 0; i < ROWS; i += 4) {
    const float4 v = *(threadgroup const float4*)(x + i);
#pragma unroll
    for (int b = 0; b < COLS; b++) {
      d[b] = fma(v.x, c[(i + 0) * COLS + b], d[b]);
      d[b] = fma(v.y, c[(i + 1) * COLS + b], d[b]);
      d[b] = fma(v.z, c[(i + 2) * COLS + b], d[b]);
      d[b] = fma(v.w, c[(i + 3) * COLS + b], d[b]);
    }
  }
#pragma unroll
  for (int b = 0; b < COLS; b++) {
#pragma unroll
    for (int offset = LANES; offset < 32; offset *= 2) {
      d[b] += simd_shuffle_xor(d[b], ushort(offset));
    }
  }
  if (at.simds == 1) {
    simdgroup_barrier(mem_flags::mem_threadgroup);
    return;
  }
#pragma unroll
  for (int b = 0; b < COLS; b++) {
    if (at.group == 0) {
      sums[at.simd * WIDTH + at.column + b * LANES] = d[b];
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
  for (int b = 0; b < COLS; b++) {
    d[b] = 0.0f;
    for (int s = 0; s < at.simds; s++) {
      d[b] += sums[s * WIDTH + at.column + b * LANES];
    }
  }
}

// c -= x f.
inline void subtract_column(thread float* c, threadgroup const float* x, thread const float* f) {
#pragma unroll
  for (int i = 0; i < ROWS; i += 4) {
    const float4 v = *(threadgroup const float4*)(x + i);
#pragma unroll
    for (int b = 0; b < COLS; b++) {
      c[(i + 0) * COLS + b] = fma(-f[b], v.x, c[(i + 0) * COLS + b]);
      c[(i + 1) * COLS + b] = fma(-f[b], v.y, c[(i + 1) * COLS + b]);
      c[(i + 2) * COLS + b] = fma(-f[b], v.z, c[(i + 2) * COLS + b]);
      c[(i + 3) * COLS + b] = fma(-f[b], v.w, c[(i + 3) * COLS + b]);
    }
  }
}

// Factors the rows in c. Afterwards c has R above the diagonal, and on and below it columns that reflectors() makes
// reflectors; a lane's columns have R's diagonal in `diagonal` and the reflectors' lengths in `length`. Where `gram` is
// wanted, its entries above the diagonal (WIDTH a row) become u_k^T u_l.
inline void factor(thread float* c, constant QrParams& p, Place at, threadgroup float* work, bool with_gram,
                   threadgroup float* gram, thread float* diagonal, thread float* length) {
  const int columns = columns_size(at.simds), sums = sums_size(at.simds);
#pragma unroll
  for (int b = 0; b < COLS; b++) {
    diagonal[b] = length[b] = 0.0f;
  }
  for (int k = 0; k < p.columns; k++) {
    // Two of everything in turn: what a step reads is overwritten two steps later, behind the barriers of the next.
    const int turn = k & 1;
    threadgroup float* x = work + turn * (columns / 2) + (at.simd * GROUPS + at.group) * COLUMN_ROWS;
    threadgroup float* pivot = work + columns + sums + turn * WIDTH;
    post_column(c, at, k, x, pivot);
    simdgroup_barrier(mem_flags::mem_threadgroup);
    float d[COLS];
    dot_column(c, at, x, work + columns + turn * (sums / 2), d);
    const float square = simd_shuffle(k < LANES ? d[0] : d[COLS - 1], ushort(k % LANES));
    const float alpha = pivot[k], norm = sqrt(square);
    const bool negligible = square < NEGLIGIBLE;
    const float beta = negligible ? alpha : alpha < 0.0f ? norm : -norm;
    const float tau = negligible ? 0.0f : 1.0f / (norm * (norm + abs(alpha)));  // H = I - tau x x^T, x_k = alpha - beta
    const float root = sqrt(tau);
    float f[COLS];
#pragma unroll
    for (int b = 0; b < COLS; b++) {
      const int column = at.column + b * LANES;
      const float projection = fma(-beta, pivot[column], d[b]);
      f[b] = column > k ? tau * projection : 0.0f;
      if (column == k) {
        diagonal[b] = beta;
        length[b] = root;
      }
      if (with_gram && at.simd == 0 && at.group == 0 && column < k) {
        gram[column * WIDTH + k] = projection * length[b] * root;
      }
    }
    const int above = k - at.row;
    if (above >= 0 && above < ROWS && at.column == 0) {
      x[above] = alpha - beta;
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
    subtract_column(c, x, f);
  }
}

// Leaves the reflectors u in c, and their first rows on and below the diagonal of `square`.
inline void reflectors(thread float* c, constant QrParams& p, Place at, thread const float* diagonal,
                       thread const float* length, threadgroup float* square) {
#pragma unroll
  for (int i = 0; i < ROWS; i++) {
    const int row = at.row + i;
#pragma unroll
    for (int b = 0; b < COLS; b++) {
      const int column = at.column + b * LANES;
      const float u = row == column ? c[i * COLS + b] - diagonal[b] : c[i * COLS + b];
      c[i * COLS + b] = row < column ? 0.0f : u * length[b];
      if (row < p.columns && row >= column) {
        square[row * WIDTH + column] = c[i * COLS + b];
      }
    }
  }
}

// mix (columns x columns) = U1^T mix, U1 the reflectors' first rows. Rows are finished from the first on, in blocks.
inline void multiply_reflectors(int columns, threadgroup const float* square, threadgroup float* mix, int index,
                                int threads) {
  const int block = threads / WIDTH, column = index % WIDTH;
  for (int first = 0; first < columns; first += block) {
    const int k = first + index / WIDTH;
    const bool mine = index / WIDTH < block && k < columns && column < columns;
    float sum = 0.0f;
    if (mine) {
      for (int i = k; i < columns; i++) {
        sum = fma(square[i * WIDTH + k], mix[i * WIDTH + column], sum);
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (mine) {
      mix[k * WIDTH + column] = sum;
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

// mix = T mix: the product of the reflectors is I - U T U^T, and T^-1 has ones on the diagonal and their products
// above it. Rows are finished from the last on, in blocks.
inline void solve_gram(int columns, threadgroup const float* square, threadgroup float* mix, int index, int threads) {
  const int block = threads / WIDTH, column = index % WIDTH;
  for (int first = (columns - 1) / block * block; first >= 0; first -= block) {
    const int k = first + index / WIDTH, end = min(first + block, columns);
    if (index / WIDTH < block && k < columns && column < columns) {
      float sum = mix[k * WIDTH + column];
      for (int l = end; l < columns; l++) {
        sum = fma(-square[k * WIDTH + l], mix[l * WIDTH + column], sum);
      }
      mix[k * WIDTH + column] = sum;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (index < columns) {  // index == column
      for (int row = end - 2; row >= first; row--) {
        float sum = mix[row * WIDTH + column];
        for (int l = row + 1; l < end; l++) {
          sum = fma(-square[row * WIDTH + l], mix[l * WIDTH + column], sum);
        }
        mix[row * WIDTH + column] = sum;
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
}

// acc -= rows [first, first + 8) of U mix.
inline void subtract_product(thread const float* c, int first, int columns, Place at, threadgroup const float* mix,
                             thread float* acc) {
  const int group_lane = at.group * LANES;
#pragma unroll
  for (int part = 0; part < COLS; part++) {
    for (int k = part * LANES; k < min(columns, (part + 1) * LANES); k++) {
      float m[COLS];
#pragma unroll
      for (int b = 0; b < COLS; b++) {
        m[b] = mix[k * WIDTH + at.column + b * LANES];
      }
#pragma unroll
      for (int i = 0; i < 8; i++) {
        const float u = simd_shuffle(c[(first + i) * COLS + part], ushort(group_lane + k - part * LANES));
#pragma unroll
        for (int b = 0; b < COLS; b++) {
          acc[i * COLS + b] = fma(-u, m[b], acc[i * COLS + b]);
        }
      }
    }
  }
}
