// Householder QR of a tall matrix, blocked (compact WY) and, where it is much taller than wide, by a tree of row chunks
// (TSQR). Q is orthonormal whatever the matrix: this is what Cholesky QR falls back to.
//
// Schreiber, Van Loan: A storage-efficient WY representation for products of Householder transformations (1989).
// Demmel, Grigori, Hoemmen, Langou: Communication-optimal parallel and sequential QR (2012).
#pragma once

#include "cpu/qr_tiles.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

inline constexpr int kPanel = 16;          // reflectors that are applied together; a multiple of kDots
inline constexpr int kDots = 4;            // reflectors of a register tile
inline constexpr int kTileCols = 3;        // columns of a register tile
inline constexpr int kGroup = 24;          // columns that a task updates
inline constexpr int64_t kRowChunk = 512;  // rows of a column that a register tile passes over: stays in L1
inline constexpr int64_t kLeafRatio = 8;   // a leaf of the tree has up to 2 * kLeafRatio * n rows
inline constexpr int64_t kLeafRows = 512;

// Calls f with memory for `count` floats: as large as the matrix, so it is returned, unlike scratch. (No destructor:
// code that unwinds would refer to symbols that SIMD levels share.)
template <typename F>
void with_memory(int64_t count, F f) {
  auto* memory = static_cast<float*>(__builtin_malloc(sizeof(float) * count));
  if (!memory) {
    __builtin_abort();
  }
  f(memory);
  __builtin_free(memory);
}

// The reflectors of one chunk: column-major, ones on the diagonal and zeros above it, rows and columns padded with
// zeros, columns to a multiple of kDots. t holds one kPanel x kPanel upper triangle a panel.
struct Reflectors {
  float* v;
  float* t;
  int64_t ld, rows, n;

  // An odd number of cache lines: columns a power of two apart would fall into the same few sets of L1.
  static int64_t ld_of(int64_t rows) { return ((rows + 15) / 16 | 1) * 16; }
  static int64_t v_size(int64_t rows, int64_t n) { return ld_of(rows) * round_up(n, kDots); }
  static int64_t t_size(int64_t n) { return round_up(n, kPanel) * kPanel; }
};

// w[i * ldw + j] += v_i . c_j over `rows` rows, a multiple of W.
template <int NV, int NC>
METALFAISS_INLINE void dots(const float* v, const float* c, int64_t ld, int64_t rows, float* w, int64_t ldw) {
  vf acc[NV][NC] = {};
  for (int64_t r = 0; r < rows; r += W) {
    vf right[NC];
#pragma GCC unroll 4
    for (int j = 0; j < NC; j++) {
      right[j] = load(c + j * ld + r);
    }
#pragma GCC unroll 4
    for (int i = 0; i < NV; i++) {
      vf left = load(v + i * ld + r);
#pragma GCC unroll 4
      for (int j = 0; j < NC; j++) {
        acc[i][j] = fma(left, right[j], acc[i][j]);
      }
    }
  }
  for (int i = 0; i < NV; i++) {
    for (int j = 0; j < NC; j++) {
      w[i * ldw + j] += sum(acc[i][j]);
    }
  }
}

// c_j += sum over i < count of v_i w[i * ldw + j], for NR vectors of rows.
template <int NR, int NC>
METALFAISS_INLINE void add_tile(const float* v, float* c, int64_t ld, const float* w, int64_t ldw, int count) {
  vf acc[NC][NR];
#pragma GCC unroll 4
  for (int j = 0; j < NC; j++) {
#pragma GCC unroll 4
    for (int r = 0; r < NR; r++) {
      acc[j][r] = load(c + j * ld + r * W);
    }
  }
  for (int i = 0; i < count; i++) {
    vf factor[NC];
#pragma GCC unroll 4
    for (int j = 0; j < NC; j++) {
      factor[j] = broadcast(w[i * ldw + j]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < NR; r++) {
      vf left = load(v + i * ld + r * W);
#pragma GCC unroll 4
      for (int j = 0; j < NC; j++) {
        acc[j][r] = fma(left, factor[j], acc[j][r]);
      }
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < NC; j++) {
#pragma GCC unroll 4
    for (int r = 0; r < NR; r++) {
      store(c + j * ld + r * W, acc[j][r]);
    }
  }
}

template <int NC>
METALFAISS_INLINE void add(const float* v, float* c, int64_t ld, int64_t rows, const float* w, int64_t ldw, int count) {
  int64_t r = 0;
  for (; r + 4 * W <= rows; r += 4 * W) {
    add_tile<4, NC>(v + r, c + r, ld, w, ldw, count);
  }
  for (; r < rows; r += W) {
    add_tile<1, NC>(v + r, c + r, ld, w, ldw, count);
  }
}

// Calls f.operator()<NC>(j) for columns [0, n) in tiles of NC = kTileCols columns and then single ones.
template <typename F>
METALFAISS_INLINE void for_columns(int64_t n, F f) {
  int64_t j = 0;
  for (; j + kTileCols <= n; j += kTileCols) {
    f.template operator()<kTileCols>(j);
  }
  for (; j < n; j++) {
    f.template operator()<1>(j);
  }
}

// w (width x cols) += v^T c, width a multiple of kDots.
inline void all_dots(const float* v, int64_t width, const float* c, int64_t cols, int64_t ld, int64_t rows, float* w,
                     int64_t ldw) {
  for (int64_t r0 = 0; r0 < rows; r0 += kRowChunk) {
    int64_t length = at_most(kRowChunk, rows - r0);
    for (int64_t i = 0; i < width; i += kDots) {
      for_columns(cols, [&]<int NC>(int64_t j) __attribute__((always_inline)) {
        dots<kDots, NC>(v + i * ld + r0, c + j * ld + r0, ld, length, w + i * ldw + j, ldw);
      });
    }
  }
}

// Up to kGroup columns: c = (I - V op(T) V^T) c, op the transpose if `transposed` (that is Q^T c, else Q c).
inline void apply_to_group(const float* v, const float* t, int64_t width, bool transposed, float* c, int64_t cols,
                           int64_t ld, int64_t rows) {
  float w[kPanel * kGroup] = {}, tw[kPanel * kGroup] = {};
  all_dots(v, width, c, cols, ld, rows, w, kGroup);
  for (int64_t i = 0; i < width; i++) {
    int64_t begin = transposed ? 0 : i, end = transposed ? i + 1 : width;
    for (int64_t k = begin; k < end; k++) {
      float factor = transposed ? t[k * kPanel + i] : t[i * kPanel + k];
      for (int j = 0; j < kGroup; j++) {
        tw[i * kGroup + j] -= factor * w[k * kGroup + j];
      }
    }
  }
  for (int64_t r0 = 0; r0 < rows; r0 += kRowChunk) {
    int64_t length = at_most(kRowChunk, rows - r0);
    for_columns(cols, [&]<int NC>(int64_t j) __attribute__((always_inline)) {
      add<NC>(v + r0, c + j * ld + r0, ld, length, tw + j, kGroup, static_cast<int>(width));
    });
  }
}

// Applies panel k0 to columns [from, to) of c, which has the rows of h.
inline void apply_panel(const Reflectors& h, int64_t k0, bool transposed, float* c, int64_t from, int64_t to) {
  const int64_t r0 = k0 / W * W, width = round_up(at_most(kPanel, h.n - k0), kDots);
  const float *v = h.v + k0 * h.ld + r0, *t = h.t + k0 * kPanel;
  auto group = [&](int64_t g) {
    int64_t j = from + g * kGroup;
    apply_to_group(v, t, width, transposed, c + j * h.ld + r0, at_most(kGroup, to - j), h.ld, h.ld - r0);
  };
  const int64_t groups = ceil_div(to - from, kGroup);
  if ((h.ld - r0) * (to - from) >= 1 << 15) {  // a task is worth a tenth of a millisecond in all
    parallel_for(groups, group);
    return;
  }
  for (int64_t g = 0; g < groups; g++) {
    group(g);
  }
}

// Makes column k a reflector, ones and zeros in place, and returns its tau. Row k of r gets its diagonal.
inline float reflector(float* column, int64_t k, int64_t rows, float* diagonal) {
  double tail = 0;
  vd sums[2] = {};
  int64_t i = k + 1;
  for (; i < rows && i % W != 0; i++) {
    tail += static_cast<double>(column[i]) * column[i];
  }
  for (; i < rows; i += W) {  // rows is a multiple of W
    vd low = load_double(column + i), high = load_double(column + i + WD);
    sums[0] = fma(low, low, sums[0]);
    sums[1] = fma(high, high, sums[1]);
  }
  tail += sum(sums[0] + sums[1]);
  const double alpha = column[k];
  column[k] = 1;
  if (tail == 0) {
    *diagonal = static_cast<float>(alpha);
    return 0;
  }
  const double norm = __builtin_sqrt(alpha * alpha + tail), beta = alpha > 0 ? -norm : norm;
  const double scale = 1 / (alpha - beta);
  *diagonal = static_cast<float>(beta);
  for (i = k + 1; i < rows && i % W != 0; i++) {
    column[i] = static_cast<float>(column[i] * scale);
  }
  for (; i < rows; i += WD) {
    vf_half scaled = __builtin_convertvector(load_double(column + i) * scale, vf_half);
    __builtin_memcpy(column + i, &scaled, sizeof scaled);
  }
  return static_cast<float>((beta - alpha) / beta);
}

// Factors the columns of one panel, moves R's entries to r (n x n, row-major) and fills the panel's T.
inline void factor_panel(const Reflectors& h, int64_t k0, float* r) {
  const int64_t end = at_most(k0 + kPanel, h.n), r0 = k0 / W * W;
  float tau[kPanel];
  for (int64_t k = k0; k < end; k++) {
    float* column = h.v + k * h.ld;
    for (int64_t i = 0; i < k; i++) {
      r[i * h.n + k] = column[i];
      column[i] = 0;
    }
    tau[k - k0] = reflector(column, k, h.ld, &r[k * h.n + k]);
    for_columns(end - (k + 1), [&]<int NC>(int64_t j) __attribute__((always_inline)) {
      float w[NC] = {};
      float* c = h.v + (k + 1 + j) * h.ld + r0;
      dots<1, NC>(column + r0, c, h.ld, h.ld - r0, w, NC);
      for (float& value : w) {
        value *= -tau[k - k0];
      }
      add<NC>(column + r0, c, h.ld, h.ld - r0, w, NC, 1);
    });
  }
  const int64_t width = end - k0, padded = round_up(width, kDots);
  float gram[kPanel * kPanel] = {};
  all_dots(h.v + k0 * h.ld + r0, padded, h.v + k0 * h.ld + r0, width, h.ld, h.ld - r0, gram, kPanel);
  float* t = h.t + k0 * kPanel;
  __builtin_memset(t, 0, sizeof(float) * kPanel * kPanel);
  for (int64_t j = 0; j < width; j++) {
    for (int64_t i = 0; i < j; i++) {
      float s = 0;
      for (int64_t l = i; l < j; l++) {
        s += t[i * kPanel + l] * gram[l * kPanel + j];
      }
      t[i * kPanel + j] = -tau[j] * s;
    }
    t[j * kPanel + j] = tau[j];
  }
}

// Copies rows of a, columns scaled, into h.v and factors them. r: n x n, its lower triangle zero.
inline void factor(const Reflectors& h, const Matrix& a, int64_t first_row, const double* scale, float* r) {
  const float* from = static_cast<const float*>(a.data) + first_row * a.row_stride;
  __builtin_memset(h.v, 0, sizeof(float) * Reflectors::v_size(h.rows, h.n));
  constexpr int64_t kStep = 16;
  for (int64_t i0 = 0; i0 < h.rows; i0 += kStep) {
    for (int64_t j = 0; j < h.n; j++) {
      double s = scale ? scale[j] : 1;
      for (int64_t i = i0; i < at_most(i0 + kStep, h.rows); i++) {
        h.v[j * h.ld + i] = static_cast<float>(from[i * a.row_stride + j * a.col_stride] * s);
      }
    }
  }
  __builtin_memset(r, 0, sizeof(float) * h.n * h.n);
  for (int64_t k0 = 0; k0 < h.n; k0 += kPanel) {
    factor_panel(h, k0, r);
    apply_panel(h, k0, true, h.v, at_most(k0 + kPanel, h.n), h.n);
  }
}

// q (rows x n, row-major) = Q [top; 0], top an n x n row-major matrix, or the identity if it is null. Column j is
// multiplied by sign[j]. c: room for v_size floats.
inline void form_q(const Reflectors& h, const float* top, const float* sign, float* c, float* q) {
  __builtin_memset(c, 0, sizeof(float) * h.ld * h.n);
  for (int64_t j = 0; j < h.n; j++) {
    for (int64_t i = 0; i < h.n && top; i++) {
      c[j * h.ld + i] = top[i * h.n + j];
    }
    if (!top) {
      c[j * h.ld + j] = 1;
    }
  }
  for (int64_t k0 = (h.n - 1) / kPanel * kPanel; k0 >= 0; k0 -= kPanel) {
    apply_panel(h, k0, false, c, top ? 0 : k0, h.n);
  }
  constexpr int64_t kStep = 16;
  for (int64_t i0 = 0; i0 < h.rows; i0 += kStep) {
    for (int64_t j = 0; j < h.n; j++) {
      for (int64_t i = i0; i < at_most(i0 + kStep, h.rows); i++) {
        q[i * h.n + j] = c[j * h.ld + i] * sign[j];
      }
    }
  }
}

// The signs that make r's diagonal non-negative, applied to r's rows.
inline void normalise_signs(float* r, int64_t n, float* sign) {
  for (int64_t i = 0; i < n; i++) {
    sign[i] = r[i * n + i] < 0 ? -1.0f : 1.0f;
    for (int64_t j = i; j < n; j++) {
      r[i * n + j] *= sign[i];
    }
  }
}

inline void householder_tree(const Matrix& a, const double* scale, int64_t chunks, float* q, float* r);

// q (m x n, row-major) and r (n x n, row-major) of a with its columns scaled, m >= n. q may be a.
inline void householder_qr(const Matrix& a, const double* scale, float* q, float* r) {
  const int64_t m = a.rows, n = a.cols, leaf = at_least(kLeafRows, kLeafRatio * n);
  if (m >= 2 * leaf) {
    householder_tree(a, scale, m / leaf, q, r);
    return;
  }
  const int64_t v_size = Reflectors::v_size(m, n), t_size = Reflectors::t_size(n);
  with_memory(2 * v_size + t_size + n, [&](float* memory) {
    float *t = memory + 2 * v_size, *sign = t + t_size;
    const Reflectors h{memory, t, Reflectors::ld_of(m), m, n};
    factor(h, a, 0, scale, r);
    normalise_signs(r, n, sign);
    form_q(h, nullptr, sign, memory + v_size, q);
  });
}

// Factors chunks of rows, then the stack of their triangles, whose Q's rows the chunks' reflectors turn into those of
// q.
inline void householder_tree(const Matrix& a, const double* scale, int64_t chunks, float* q, float* r) {
  const int64_t m = a.rows, n = a.cols;
  const int64_t v_size = Reflectors::v_size(ceil_div(m, chunks), n), t_size = Reflectors::t_size(n);
  with_memory(chunks * (v_size + t_size + n * n) + n, [&](float* memory) {
    float *t = memory + chunks * v_size, *stack = t + chunks * t_size, *ones = stack + chunks * n * n;
    auto begin = [&](int64_t c) { return c * m / chunks; };
    auto reflectors = [&](int64_t c) {
      int64_t rows = begin(c + 1) - begin(c);
      return Reflectors{memory + c * v_size, t + c * t_size, Reflectors::ld_of(rows), rows, n};
    };
    parallel_for(chunks, [&](int64_t c) { factor(reflectors(c), a, begin(c), scale, stack + c * n * n); });
    householder_qr({stack, Float::f32, chunks * n, n, n, 1}, nullptr, stack, r);
    for (int64_t j = 0; j < n; j++) {
      ones[j] = 1;
    }
    parallel_for(chunks, [&](int64_t c) {
      float* columns = scratch<float>(Scratch::packed_a, v_size);
      form_q(reflectors(c), stack + c * n * n, ones, columns, q + begin(c) * n);
    });
  });
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
