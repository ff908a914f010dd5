// SVD of small square matrices by one-sided Jacobi rotations (Hestenes 1958; on the transpose of a triangle as in Drmac
// and Veselic, New fast and accurate Jacobi SVD algorithm, 2008).
//
// X = A^T and W = I are multiplied by rotations of pairs of columns from the right until the columns of X are
// orthogonal: X = V S, W = U, since A^T = V S U^T. One threadgroup a matrix. Columns come in blocks of four; a
// simdgroup takes two blocks into registers, rotates every pair of theirs, and puts them back; after 2 SIMDS - 1 rounds
// of a tournament every pair has met: a sweep. Sweeps end when no pair was further from orthogonal than CONVERGED.
//
// Rows: lane + 32 i, i < ROWS. Registers: 16 ROWS numbers a lane. Scratch: X and W, 64 KB each at most, from a cache.
// A round moves both once to registers and back: 4 (2 SIMDS - 1) SIMDS 64 ROWS 32 bytes a sweep; it takes 6 to 9
// sweeps.
#include <metal_stdlib>
#include "square_svd_params.h"
using namespace metal;

#ifndef ROWS  // ceil(n / 32)
#define ROWS 1
#endif
#ifndef SIMDS  // ceil(n / 8)
#define SIMDS 1
#endif

#define THREADS (32 * SIMDS)
#define HEIGHT (32 * ROWS)
#define COLUMNS SQUARE_SVD_COLUMNS
#define BLOCKS (2 * SIMDS)
#define MOST_SWEEPS 24
#define CONVERGED 1e-5f
#define ORTHOGONAL 3e-7f   // cosine of a pair that is left as it is
#define NEGLIGIBLE 1e-30f  // squared length of a column that counts as zero, where the largest entry is 1 to 2

// The block that a simdgroup has in a round, as its first or its second: in the tournament all but block 0 move on.
inline int block_of(int simd, int second, int round) {
  int place = second ? BLOCKS - 1 - simd : simd;
  return place == 0 ? 0 : (place - 1 + round) % (BLOCKS - 1) + 1;
}

inline float largest(float x, threadgroup float* parts, int simd, int lane) {
  float most = simd_max(x);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (lane == 0) {
    parts[simd] = most;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  most = parts[0];
  for (int s = 1; s < SIMDS; s++) {
    most = max(most, parts[s]);
  }
  return most;
}

inline void load_column(thread float* c, device const float* from, int lane) {
#pragma unroll
  for (int i = 0; i < ROWS; i++) {
    c[i] = from[lane + 32 * i];
  }
}

inline void store_column(thread const float* c, device float* to, int lane) {
#pragma unroll
  for (int i = 0; i < ROWS; i++) {
    to[lane + 32 * i] = c[i];
  }
}

inline float square_of(thread const float* c) {
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < ROWS; i++) {
    sum = fma(c[i], c[i], sum);
  }
  return simd_sum(sum);
}

// a = a - s (b + tau a), b = b + s (a - tau b).
inline void rotate_columns(thread float* a, thread float* b, float s, float tau) {
#pragma unroll
  for (int i = 0; i < ROWS; i++) {
    float x = a[i], y = b[i];
    a[i] = fma(-s, fma(tau, x, y), x);
    b[i] = fma(s, fma(-tau, y, x), y);
  }
}

// Rotates four disjoint pairs of columns, (first[q], second[q]), so that they are orthogonal. Lanes 8 q and on find the
// rotation of pair q. Returns the largest cosine of a pair of this lane's.
inline float rotate_pairs(thread float* x, thread float* w, thread float* squares, int4 first, int4 second, int lane) {
  float d[4];
#pragma unroll
  for (int q = 0; q < 4; q++) {
    d[q] = 0.0f;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
      d[q] = fma(x[first[q] * ROWS + i], x[second[q] * ROWS + i], d[q]);
    }
  }
  bool upper = (lane & 16) != 0, odd = (lane & 8) != 0;
  float e0 = (upper ? d[2] : d[0]) + simd_shuffle_xor(upper ? d[0] : d[2], ushort(16));
  float e1 = (upper ? d[3] : d[1]) + simd_shuffle_xor(upper ? d[1] : d[3], ushort(16));
  float ab = (odd ? e1 : e0) + simd_shuffle_xor(odd ? e0 : e1, ushort(8));
  ab += simd_shuffle_xor(ab, ushort(4));
  ab += simd_shuffle_xor(ab, ushort(2));
  ab += simd_shuffle_xor(ab, ushort(1));
  float aa = upper ? (odd ? squares[first[3]] : squares[first[2]]) : (odd ? squares[first[1]] : squares[first[0]]);
  float bb = upper ? (odd ? squares[second[3]] : squares[second[2]]) : (odd ? squares[second[1]] : squares[second[0]]);

  bool exist = aa > NEGLIGIBLE && bb > NEGLIGIBLE && ab != 0.0f;
  float cosine = exist ? abs(ab) / (sqrt(aa) * sqrt(bb)) : 0.0f;
  if (!simd_any(cosine > ORTHOGONAL)) {
    return cosine;
  }
  float zeta = (bb - aa) / (2.0f * ab), size = abs(zeta);
  float t = exist ? (zeta < 0.0f ? -1.0f : 1.0f) / (size + sqrt(fma(size, size, 1.0f))) : 0.0f;
  float c = 1.0f / sqrt(fma(t, t, 1.0f)), s = c * t, tau = s / (1.0f + c), change = t * ab;
#pragma unroll
  for (int q = 0; q < 4; q++) {
    float s_q = simd_shuffle(s, ushort(8 * q)), tau_q = simd_shuffle(tau, ushort(8 * q));
    float change_q = simd_shuffle(change, ushort(8 * q));
    rotate_columns(x + first[q] * ROWS, x + second[q] * ROWS, s_q, tau_q);
    rotate_columns(w + first[q] * ROWS, w + second[q] * ROWS, s_q, tau_q);
    squares[first[q]] = max(squares[first[q]] - change_q, 0.0f);
    squares[second[q]] += change_q;
  }
  return cosine;
}

// One meeting of two blocks; the pairs within blocks meet in the first round.
inline float meet(device float* x, device float* w, int round, int simd, int lane) {
  float a[COLUMNS * ROWS], b[COLUMNS * ROWS], squares[COLUMNS], worst = 0.0f;
  int first = block_of(simd, 0, round) * 4, second = block_of(simd, 1, round) * 4;
#pragma unroll
  for (int c = 0; c < COLUMNS; c++) {
    int column = (c < 4 ? first : second - 4) + c;
    load_column(a + c * ROWS, x + column * HEIGHT, lane);
    load_column(b + c * ROWS, w + column * HEIGHT, lane);
    squares[c] = square_of(a + c * ROWS);
  }
  if (round == 0) {
    worst = rotate_pairs(a, b, squares, int4(0, 2, 4, 6), int4(1, 3, 5, 7), lane);
    worst = max(worst, rotate_pairs(a, b, squares, int4(0, 1, 4, 5), int4(2, 3, 6, 7), lane));
    worst = max(worst, rotate_pairs(a, b, squares, int4(0, 1, 4, 5), int4(3, 2, 7, 6), lane));
  }
  worst = max(worst, rotate_pairs(a, b, squares, int4(0, 1, 2, 3), int4(4, 5, 6, 7), lane));
  worst = max(worst, rotate_pairs(a, b, squares, int4(0, 1, 2, 3), int4(5, 6, 7, 4), lane));
  worst = max(worst, rotate_pairs(a, b, squares, int4(0, 1, 2, 3), int4(6, 7, 4, 5), lane));
  worst = max(worst, rotate_pairs(a, b, squares, int4(0, 1, 2, 3), int4(7, 4, 5, 6), lane));
  if (!simd_any(worst > ORTHOGONAL)) {
    return worst;
  }
#pragma unroll
  for (int c = 0; c < COLUMNS; c++) {
    int column = (c < 4 ? first : second - 4) + c;
    store_column(a + c * ROWS, x + column * HEIGHT, lane);
    store_column(b + c * ROWS, w + column * HEIGHT, lane);
  }
  return worst;
}

// Rows [valid, n) of vt: each a coordinate vector that the rows before it leave most of, made orthogonal to them,
// twice.
inline void complete(device float* vt, int n, int valid, threadgroup float* numbers, threadgroup float* rest,
                     int index) {
  for (int row = valid; row < n; row++) {
    if (index < n) {
      float left = 1.0f;
      for (int r = 0; r < row; r++) {
        left = fma(-vt[r * n + index], vt[r * n + index], left);
      }
      numbers[index] = left;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    int best = 0;
    for (int i = 1; i < n; i++) {
      best = numbers[i] > numbers[best] ? i : best;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    float u = index == best ? 1.0f : 0.0f;
    for (int pass = 0; pass < 2; pass++) {
      if (index < n) {
        rest[index] = u;
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
      if (index < row) {
        float dot = 0.0f;
        for (int i = 0; i < n; i++) {
          dot = fma(vt[index * n + i], rest[i], dot);
        }
        numbers[index] = dot;
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
      if (index < n) {
        for (int r = 0; r < row; r++) {
          u = fma(-numbers[r], vt[r * n + index], u);
        }
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    if (index < n) {
      rest[index] = u;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    float square = 0.0f;
    for (int i = 0; i < n; i++) {
      square = fma(rest[i], rest[i], square);
    }
    if (index < n) {
      vt[row * n + index] = u / sqrt(square);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  }
}

// Threadgroup memory: 1.6 KB.
[[max_total_threads_per_threadgroup(THREADS)]] kernel void square_svd(
    device const float* a [[buffer(0)]], device float* scratch [[buffer(1)]], device float* u [[buffer(2)]],
    device float* s [[buffer(3)]], device float* vt [[buffer(4)]], constant SquareSvdParams& p [[buffer(5)]],
    uint3 group [[threadgroup_position_in_grid]], uint simd_index [[simdgroup_index_in_threadgroup]],
    uint lane_index [[thread_index_in_simdgroup]]) {
  threadgroup float parts[SIMDS], sizes[SIMDS * COLUMNS], numbers[SIMDS * COLUMNS], rest[SIMDS * COLUMNS];
  int simd = int(simd_index), lane = int(lane_index), index = simd * 32 + lane, n = p.n;
  long matrix = p.first_matrix + group.x;
  a += matrix * n * n;
  u += matrix * n * n;
  vt += matrix * n * n;
  s += matrix * n;
  device float* x = scratch + long(group.x) * (2 * SIMDS * COLUMNS * HEIGHT);
  device float* w = x + SIMDS * COLUMNS * HEIGHT;

  float most = 0.0f, odd = 0.0f;
  for (int i = index; i < n * n; i += THREADS) {
    most = max(most, abs(a[i]));
    odd = isfinite(a[i]) ? odd : 1.0f;
  }
  bool is_finite = largest(odd, parts, simd, lane) == 0.0f;
  most = largest(most, parts, simd, lane);
  if (!is_finite) {
    for (int i = index; i < n * n; i += THREADS) {
      u[i] = vt[i] = NAN;
    }
    for (int i = index; i < n; i += THREADS) {
      s[i] = NAN;
    }
    return;
  }
  int exponent = clamp(int(as_type<uint>(most) >> 23) - 127, -126, 126);
  float scale = as_type<float>(uint(127 - exponent) << 23), back = as_type<float>(uint(127 + exponent) << 23);

  for (int c = simd; c < SIMDS * COLUMNS; c += SIMDS) {
    for (int row = lane; row < HEIGHT; row += 32) {
      x[c * HEIGHT + row] = c < n && row < n ? a[uint(c * n) + row] * scale : 0.0f;
      w[c * HEIGHT + row] = c == row ? 1.0f : 0.0f;
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  for (int sweep = 0; sweep < MOST_SWEEPS; sweep++) {
    float worst = 0.0f;
    for (int round = 0; round < BLOCKS - 1; round++) {
      worst = max(worst, meet(x, w, round, simd, lane));
      threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    }
    if (largest(worst, parts, simd, lane) <= CONVERGED) {
      break;
    }
  }

  for (int c = simd; c < SIMDS * COLUMNS; c += SIMDS) {
    float column[ROWS];
    load_column(column, x + c * HEIGHT, lane);
    float square = square_of(column);
    if (lane == 0) {
      sizes[c] = c < n ? square : -1.0f;
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  int valid = 0;
  for (int i = 0; i < n; i++) {
    valid += sizes[i] > NEGLIGIBLE ? 1 : 0;
  }
  for (int c = simd; c < n; c += SIMDS) {
    int place = 0;  // among the columns from the longest on
    for (int i = 0; i < n; i++) {
      place += sizes[i] > sizes[c] || (sizes[i] == sizes[c] && i < c) ? 1 : 0;
    }
    float column[ROWS], size = sqrt(sizes[c]);
    load_column(column, x + c * HEIGHT, lane);
    float inverse = sizes[c] > NEGLIGIBLE ? 1.0f / size : 0.0f;
    for (int i = 0; i < ROWS && place < valid; i++) {
      if (lane + 32 * i < n) {
        vt[uint(place * n) + lane + 32 * i] = column[i] * inverse;
      }
    }
    load_column(column, w + c * HEIGHT, lane);
    float length = sqrt(square_of(column));
    for (int i = 0; i < ROWS; i++) {
      if (lane + 32 * i < n) {
        u[uint((lane + 32 * i) * n) + place] = column[i] / length;
      }
    }
    if (lane == 0) {
      s[place] = size * back;
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  complete(vt, n, valid, numbers, rest, index);
}
