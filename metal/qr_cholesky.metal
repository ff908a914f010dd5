// Thin QR of one tall matrix by its Gram matrix: R = chol(A^T A), Q = A R^-1, all in numbers of twice float32's
// precision, so that what Q loses, kappa^2 WIDE_EPSILON, is below float32's rounding up to a condition number kappa of
// 1e4. Beyond, a second pass does the same with Q and composes the triangles (CholeskyQR2); beyond 4e6, or where a
// pivot vanishes or a number is not finite, it says so, and Householder's method (qr.metal) does the work. (Fukaya,
// Nakatsukasa, Yanagisawa, Yamamoto: CholeskyQR2: a simple and communication-avoiding algorithm for computing a
// tall-skinny QR factorization on a large-scale parallel system, 2014.)
//
// Launches: qr_gram, qr_gram_sum, qr_cholesky, qr_invert, qr_judge, qr_times; of a second pass qr_compose in the place
// of qr_judge. Each pass reads A or Q twice and writes Q once. A launch behind a decision does nothing where it is no.
// The triangles' are here, the products with A in qr_gram.metal.
#include <metal_stdlib>
#include "qr_params.h"
#include "wide.h"
using namespace metal;

#define BLOCK 32            // rows of R that qr_cholesky makes at a time: a column of them for each lane
#define FACTOR_THREADS 512  // of the one threadgroup that it has
#define FACTOR_SIMDS (FACTOR_THREADS / 32)
#define INVERT_ROWS 8  // one for each simdgroup
#define COMPOSE_TILE 16

#define SMALLEST_PIVOT 1e-15f   // relative to its column's square
#define ONE_PASS 1e-8f          // kappa^2 WIDE_EPSILON up to which one pass does
#define TWO_PASSES 2e-3f        // and two do
#define FAR_FROM_IDENTITY 0.5f  // of ||Q^T Q - I|| of the first pass

// n is at most QR_CHOLESKY_COLUMNS: 32 bits hold it.
inline int entry_of(int row, int column, int n) {
  return row * n + column;
}

// Rows [begin, begin + BLOCK) of r = those of g - R^T R of the rows above, 16 x 16 for a simdgroup at a time.
inline void subtract_above(device const Wide* g, device Wide* r, constant QrCholeskyParams& p, int begin, uint simd,
                           uint lane) {
  const int n = p.columns, group = int(lane) / 4, in_group = int(lane) % 4;
  for (int first = begin + int(simd) / 2 * 16; first < n; first += FACTOR_SIMDS / 2 * 16) {
    const int row = begin + int(simd) % 2 * 16 + group, column = first + group;
    const int rows[2] = {min(row, n - 1), min(row + 8, n - 1)};
    const int columns[2] = {min(column, n - 1), min(column + 8, n - 1)};
    Wide sums[2][4];
#pragma unroll
    for (int e = 0; e < 8; e++) {
      sums[e / 4][e % 4] = wide(0.0f);
    }
#pragma unroll 4
    for (int k = in_group; k < begin; k += 8) {
      Wide left[4], right[2][2];
#pragma unroll
      for (int e = 0; e < 4; e++) {
        left[e] = r[entry_of(k + e / 2 * 4, rows[e % 2], n)];
        right[e / 2][e % 2] = r[entry_of(k + e % 2 * 4, columns[e / 2], n)];
      }
      wide_multiply(sums[0], left, right[0]);
      wide_multiply(sums[1], left, right[1]);
    }
#pragma unroll
    for (int e = 0; e < 8; e++) {
      const int to_row = row + e % 4 / 2 * 8, to_column = first + e / 4 * 8 + 2 * in_group + e % 2;
      if (to_row <= to_column && to_column < n) {
        r[entry_of(to_row, to_column, n)] =
            wide_sum(g[entry_of(to_row, to_column, n)], wide_negative(sums[e / 4][e % 4]));
      }
    }
  }
}

// One step of an elimination of a column's BLOCK entries, which have moved up so that the step's own is the first: the
// others less `row`'s multiples of it, moved up by one. What comes from behind the row's end is never used. Loops stay
// short this way: their code is in the cache; and without branches, so that what waits for the next pivot can be done
// among the others.
inline void eliminate(threadgroup const Wide* row, Wide first, thread Wide* entries) {
  const Wide left = wide_negative(first);
#pragma unroll
  for (int i = 1; i < BLOCK; i++) {
    entries[i - 1] = wide_fma(left, row[i], entries[i]);
  }
}

// The Cholesky factor of a block on r's diagonal, by one simdgroup with a column in each lane: also to `block`, each
// row from its diagonal on and round, with the reciprocals of the diagonal. Whether every pivot is large enough.
inline bool factor_block(device const Wide* g, device Wide* r, int n, int begin, threadgroup Wide* block,
                         threadgroup Wide* inverses, uint lane) {
  const int column = begin + int(lane);
  Wide entries[BLOCK];
#pragma unroll
  for (int i = 0; i < BLOCK; i++) {
    const bool is_above = i <= int(lane) && column < n;
    entries[i] = is_above ? r[entry_of(begin + i, column, n)] : wide(i == int(lane) ? 1.0f : 0.0f);
  }
  const Wide square = column < n ? g[entry_of(column, column, n)] : wide(1.0f);
  const Wide least = wide_product(square, wide(SMALLEST_PIVOT));
  bool is_large = true;
  Wide pivot = simd_shuffle(entries[0], ushort(0)), inverse = wide_inverse_root(pivot);
#pragma unroll 1
  for (int k = 0; k < BLOCK; k++) {
    const Wide entry = wide_product(entries[0], inverse);
    threadgroup Wide* row = block + k * BLOCK;
    row[(int(lane) - k) & (BLOCK - 1)] = entry;
    is_large = is_large && (int(lane) != k || wide_is_greater(pivot, least));
    if (int(lane) == k) {
      inverses[k] = inverse;
    }
    if (k <= int(lane) && column < n) {
      r[entry_of(begin + k, column, n)] = entry;
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
    eliminate(row, entry, entries);
    pivot = simd_shuffle(entries[0], ushort((k + 1) % BLOCK));
    inverse = wide_inverse_root(pivot);
  }
  return simd_all(is_large);
}

// The rest of a block's rows: a thread solves for a column of them.
inline void solve_beside(device Wide* r, int n, int begin, threadgroup const Wide* block,
                         threadgroup const Wide* inverses, uint index) {
  for (int column = begin + BLOCK + int(index); column < n; column += FACTOR_THREADS) {
    Wide entries[BLOCK];
#pragma unroll
    for (int i = 0; i < BLOCK; i++) {
      entries[i] = r[entry_of(begin + i, column, n)];
    }
#pragma unroll 1
    for (int k = 0; k < BLOCK; k++) {
      const Wide entry = wide_product(entries[0], inverses[k]);
      r[entry_of(begin + k, column, n)] = entry;
      eliminate(block + k * BLOCK, entry, entries);
    }
  }
}

// The part of ||G - I||_F^2 that is the thread's.
inline float distance_from_identity(device const Wide* g, int n, uint index) {
  float sum = 0.0f;
  for (int entry = int(index); entry < n * n; entry += FACTOR_THREADS) {
    const int row = entry / n, column = entry % n;
    if (row <= column) {
      const float x = narrow(wide_sum(g[entry], wide(row == column ? -1.0f : 0.0f)));
      sum = fma(x, row == column ? x : 2.0f * x, sum);
    }
  }
  return simd_sum(sum);
}

// r = the Cholesky factor of g, on and above the diagonal, and what that allows.
// Tile: all of it in one threadgroup. Threadgroup memory: 8.5 KB. Moves: reads r columns / 64 times, from the caches.
// Flops: columns^3 / 3.
[[max_total_threads_per_threadgroup(FACTOR_THREADS)]] kernel void qr_cholesky(
    device const Wide* g [[buffer(0)]], device Wide* r [[buffer(1)]], device int* decisions [[buffer(2)]],
    constant QrCholeskyParams& p [[buffer(3)]], uint index [[thread_index_in_threadgroup]],
    uint simd [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  threadgroup Wide block[BLOCK * BLOCK], inverses[BLOCK];
  threadgroup float distances[FACTOR_SIMDS];
  threadgroup int is_good;
  const int n = p.columns;
  if (p.again) {
    const float distance = distance_from_identity(g, n, index);
    if (lane == 0) {
      distances[simd] = distance;
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (index == 0) {
    float distance = 0.0f;
    for (int i = 0; p.again && i < FACTOR_SIMDS; i++) {
      distance += distances[i];
    }
    is_good = distance <= FAR_FROM_IDENTITY * FAR_FROM_IDENTITY;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  bool goes_on = is_good;
  for (int begin = 0; goes_on && begin < n; begin += BLOCK) {
    subtract_above(g, r, p, begin, simd, lane);
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    if (simd == 0) {
      const bool is_large = factor_block(g, r, n, begin, block, inverses, lane);
      if (lane == 0) {
        is_good = is_large;
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    goes_on = is_good;
    if (goes_on) {
      solve_beside(r, n, begin, block, inverses, index);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  }
  if (index == 0) {
    decisions[QR_PROCEEDS] = goes_on && !p.again;
    decisions[QR_AGAIN] = goes_on && p.again;
    decisions[QR_FAILS] = !goes_on;
  }
}

// x = r^-1, on and above the diagonal, and r rounded to float32, with zeros below. sums = those of the rows of |x|,
// times the lengths of A's columns. Tile: a row for each simdgroup, a column of 32 for each lane. Threadgroup memory:
// none. Moves: r once for 8 rows, from the caches. Flops: columns^3 / 3.
[[max_total_threads_per_threadgroup(32 * INVERT_ROWS)]] kernel void qr_invert(
    device const Wide* g [[buffer(0)]], device const Wide* r [[buffer(1)]], device Wide* x [[buffer(2)]],
    device float* rounded [[buffer(3)]], device float* sums [[buffer(4)]], constant QrCholeskyParams& p [[buffer(5)]],
    uint3 group [[threadgroup_position_in_grid]], uint simd [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  const int n = p.columns, row = int(group.x) * INVERT_ROWS + int(simd), block = row / BLOCK * BLOCK;
  if (row >= n) {
    return;
  }
  for (int column = int(lane); column < n; column += BLOCK) {
    rounded[long(row) * p.r_stride + column] = column >= row ? narrow(r[entry_of(row, column, n)]) : 0.0f;
  }
  Wide size = wide(0.0f);
  for (int begin = block; begin < n; begin += BLOCK) {
    const int column = begin + int(lane), inside = min(column, n - 1);
    Wide rest = wide(column == row ? 1.0f : 0.0f), entries[BLOCK];
    for (int above = block; above < begin; above += BLOCK) {
#pragma unroll
      for (int k = 0; k < BLOCK; k++) {
        entries[k] = r[entry_of(above + k, inside, n)];
      }
      const Wide known = wide_negative(above + int(lane) >= row ? x[entry_of(row, above + int(lane), n)] : wide(0.0f));
#pragma unroll
      for (int k = 0; k < BLOCK; k++) {
        rest = wide_fma(simd_shuffle(known, ushort(k)), entries[k], rest);
      }
    }
#pragma unroll
    for (int k = 0; k < BLOCK; k++) {
      entries[k] = begin + k < inside ? r[entry_of(begin + k, inside, n)] : wide(0.0f);
    }
    const Wide inverse = wide_negative(wide_reciprocal(r[entry_of(inside, inside, n)]));
#pragma unroll
    for (int k = 0; k < BLOCK; k++) {
      rest = wide_fma(simd_shuffle(wide_product(rest, inverse), ushort(k)), entries[k], rest);
    }
    const Wide entry = wide_negative(wide_product(rest, inverse));
    if (column >= row && column < n) {
      x[entry_of(row, column, n)] = entry;
      size = wide_sum(size, narrow(entry) < 0.0f ? wide_negative(entry) : entry);
    }
  }
  const Wide square = g[entry_of(row, row, n)], length = wide_product(square, wide_inverse_root(square));
  const bool is_in_range = narrow(length) >= WIDE_SHORTEST && narrow(length) <= WIDE_LONGEST;
  const float sum = simd_sum(narrow(wide_product(size, length)));
  if (lane == 0) {
    sums[row] = is_in_range ? sum : numeric_limits<float>::infinity();
  }
}

// Whether one pass does, or two do: by kappa = the largest sum = ||X||_inf of A with columns of length one, which is at
// least the condition number over sqrt(columns).
// Tile: all of it in one simdgroup. Threadgroup memory: none. Moves: 4 bytes for each column.
[[max_total_threads_per_threadgroup(32)]] kernel void qr_judge(device const float* sums [[buffer(0)]],
                                                               device int* decisions [[buffer(1)]],
                                                               constant QrCholeskyParams& p [[buffer(2)]],
                                                               uint lane [[thread_index_in_simdgroup]]) {
  float kappa = 0.0f;
  for (int i = int(lane); i < p.columns; i += 32) {
    kappa = sums[i] <= kappa ? kappa : isnan(sums[i]) ? numeric_limits<float>::infinity() : sums[i];
  }
  kappa = simd_max(kappa);
  if (lane == 0) {
    const float loss = kappa * WIDE_EPSILON * kappa;
    decisions[QR_PROCEEDS] = loss <= TWO_PASSES;
    decisions[QR_AGAIN] = loss > ONE_PASS && loss <= TWO_PASSES;
    decisions[QR_FAILS] = !(loss <= TWO_PASSES);
  }
}

// The triangles of both passes: x = x1 x2 and, rounded to float32, r2 r1.
// Tile: 16 x 16 of one of the two, by the parity of the group. Threadgroup memory: none. Moves: from the caches.
// Flops: 2 columns^3 / 3.
[[max_total_threads_per_threadgroup(COMPOSE_TILE * COMPOSE_TILE)]] kernel void qr_compose(
    device const Wide* x1 [[buffer(0)]], device const Wide* x2 [[buffer(1)]], device const Wide* r1 [[buffer(2)]],
    device const Wide* r2 [[buffer(3)]], device Wide* x [[buffer(4)]], device float* rounded [[buffer(5)]],
    constant QrCholeskyParams& p [[buffer(6)]], uint3 group [[threadgroup_position_in_grid]],
    uint index [[thread_index_in_threadgroup]]) {
  const int n = p.columns, across = (n + COMPOSE_TILE - 1) / COMPOSE_TILE, tile = int(group.x) / 2;
  const int row = tile / across * COMPOSE_TILE + int(index) / COMPOSE_TILE,
            column = tile % across * COMPOSE_TILE + int(index) % COMPOSE_TILE;
  const bool is_x = group.x % 2 == 0;
  if (row > column || column >= n) {
    return;
  }
  device const Wide* left = is_x ? x1 : r2;
  device const Wide* right = is_x ? x2 : r1;
  Wide sum = wide(0.0f);
  for (int k = row; k <= column; k++) {
    sum = wide_fma(left[entry_of(row, k, n)], right[entry_of(k, column, n)], sum);
  }
  if (is_x) {
    x[entry_of(row, column, n)] = sum;
  } else {
    rounded[long(row) * p.r_stride + column] = narrow(sum);
  }
}
