// A^T (A V) of a tall A in one pass, on tensor cores (half_tile.h): for executors of NVIDIA GPUs. n <= 512, k <= 32.
//
// Every number is the sum of two of float16, x 2^shift = high + low 2^-11, of which three of the four products are
// added, the small ones first: 22 bits, as two of TF32 have (z_step_tensor.metal), at twice the speed. A shift is that
// of 16 rows and 64 columns of A, of a column of V, of 16 rows and 8 columns of Y = A V. A number whose high part would
// be subnormal, about 2^-28 of the largest beside it, would lose bits: a panel of A that has one, in A or Y, or that is
// too large for float16, is left out and added in float32 at the end. A slab that has more than LIST of them, or such a
// number in V, is flagged, for z_step_repair. So every number of the result has float32's bound, relative to the terms
// that make it, on any input.
//
// A threadgroup takes the panels of 16 rows of one slab. A simdgroup of the first half has 64 columns of A: it copies
// them, two panels ahead, splits them in place, and multiplies them by its rows of V, which stay in registers. One of
// the second half has as many rows of the sum. It works one panel later, when it adds the parts of Y, and one more,
// when it adds A^T Y: so tensor cores, splits, copies and sums of different panels meet in time, and one barrier a
// panel is enough. gemm_sum (gemm.metal) adds the slabs.
//
// Threadgroup memory for n = 512 and k = 32: five panels of 33 KB, two of the parts of Y of 16 KB, 7 KB. Bytes moved:
// A once; V once a slab, from a cache; 8 slabs n k of the sums.
#include <metal_stdlib>
using namespace metal;

#include "exponent.h"
#include "gemm_params.h"
#include "half_tile.h"
#include "tensor_tile.h"

#ifndef K_TILES  // 2 or 4: of 8 columns of V
#define K_TILES 4
#endif
#ifndef SIMDS  // ceil(n / 64): simdgroups of each half
#define SIMDS 8
#endif

#define THREADS (64 * SIMDS)
#define PANEL 16
#define PANELS 5
#define ROW (128 * SIMDS + 8)       // of a panel, in halves: no two of eight start in the same banks
#define PART (K_TILES * 32)         // float4s of a simdgroup's part of Y
#define Y_ROW 24                    // of Y's transpose, in halves: as above
#define Y_LOW (COLUMNS * Y_ROW)     // the low parts of Y
#define FACTORS (SIMDS + K_TILES)   // of a panel, 2^-shift: of A, then of Y
#define LIST 16                     // panels to add in float32
#define COLUMNS (8 * K_TILES)       // of V, with those that do not exist
#define SMALLEST 6.103515625e-5f    // 2^-14: below, float16 has fewer bits
#define LARGEST_Y 3.7778931863e22f  // 2^75: above, so has the range of its shift
#define LOW_SCALE 2048.0f
#define LEFT_OUT 0.0f  // in the place of a factor

struct Place {
  int simd, lane, g, t;  // g, t: as in half_tile.h
};

// The row of a panel that is row g of eight of the tiles: then of neither two of these neighbours nor of all eight do
// 16 bytes meet in a bank.
inline int row_of(int g) {
  return (g >> 1) + (g & 1) * 4;
}

// The column, of a simdgroup's 64, that is row m of the second product's tile j.
inline int column_of(int j, int m) {
  return (j >> 1) * 32 + (m >> 2 & 1) * 16 + (j & 1) * 8 + (m >> 3) * 4 + (m & 3);
}

// Of the largest number, to 2^14 at least and below 2^15; of a product of two numbers no shift is beyond 120.
inline int narrow_shift(float largest) {
  return clamp(14 - exponent_of(largest), -60, 60);
}

inline float largest_of_all(float x) {
  return as_type<float>(simd_max(as_type<uint>(x)));
}

inline bool is_small(float x, float limit) {
  return x != 0.0f && abs(x) < limit;
}

// Two numbers as high parts and low parts.
inline uint2 split(float x, float y) {
  uint high = pack_halves(x, y);
  float2 rest = float2(x, y) - float2(as_type<half2>(high));
  return uint2(high, pack_halves(rest.x * LOW_SCALE, rest.y * LOW_SCALE));
}

inline void clear(thread float* x, int count) {
#pragma unroll
  for (int i = 0; i < count; i++) {
    x[i] = 0.0f;
  }
}

// Begins to copy 64 columns of a panel; rows and columns beyond A become zeros.
inline void load_panel(threadgroup half* panel, device const float* a, constant GemmParams& p, long first, long end,
                       Place at) {
  int row = at.lane >> 4, column = 64 * at.simd + (at.lane & 15) * 4;
  int rows = column < p.rows ? int(clamp(end - first, long(0), long(PANEL))) : 0;
  device const float* from = a + (first + row) * p.a_row + column;
  threadgroup half* to = panel + row * ROW + 128 * at.simd + 8 * (at.lane & 15);
  long step = 2 * p.a_row;
  if (rows == PANEL) {
#pragma unroll
    for (int i = 0; i < PANEL; i += 2) {
      copy_later((threadgroup float*)(to + i * ROW), from, true);
      from += step;
    }
  } else {
#pragma unroll
    for (int i = 0; i < PANEL; i += 2) {
      copy_later((threadgroup float*)(to + i * ROW), from, i + row < rows);
      from += step;
    }
  }
  copy_group();
}

// The simdgroup's rows of V, high parts and low ones, every column with a shift of its own; by all threads, of whom
// those of the second half only wait. `most` has a place for each simdgroup and column, `unscale` for each column.
// Whether V has numbers that two of float16 do not hold.
inline bool load_v(thread uint* kept, device const float* v, constant GemmParams& p, threadgroup float* most,
                   threadgroup float* unscale, bool is_first, Place at) {
  float x[16 * K_TILES];
  if (is_first) {
#pragma unroll
    for (int n = 0; n < K_TILES; n++) {
      float largest = 0.0f;
      int column = 8 * n + at.g;
#pragma unroll
      for (int i = 0; i < 16; i++) {
        int row = 64 * at.simd + i / 4 * 16 + 4 * at.t + i % 4;
        bool exists = row < p.rows && column < p.columns;
        x[16 * n + i] = exists ? v[row * p.b_row + column * p.b_column] : 0.0f;
        largest = max(largest, abs(x[16 * n + i]));
      }
      largest = max(largest, simd_shuffle_xor(largest, ushort(1)));
      largest = max(largest, simd_shuffle_xor(largest, ushort(2)));
      if (at.t == 0) {
        most[at.simd * COLUMNS + column] = largest;
      }
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  bool flagged = false;
  if (is_first) {
#pragma unroll
    for (int n = 0; n < K_TILES; n++) {
      float largest = 0.0f;
      for (int s = 0; s < SIMDS; s++) {
        largest = max(largest, most[s * COLUMNS + 8 * n + at.g]);
      }
      int shift = shift_of(largest);
      float scale = power_of_2(shift);
      if (at.simd == 0 && at.t == 0) {
        unscale[8 * n + at.g] = power_of_2(-shift);
      }
#pragma unroll
      for (int i = 0; i < 8; i++) {
        float left = x[16 * n + 2 * i] * scale, right = x[16 * n + 2 * i + 1] * scale;
        bool holds = abs(left) < 32768.0f && abs(right) < 32768.0f;
        flagged = flagged || !holds || is_small(left, SMALLEST) || is_small(right, SMALLEST);
        uint2 words = split(left, right);
        int word = 4 * (i / 2 * K_TILES / 2 + n / 2) + n % 2 + i % 2 * 2;
        kept[word] = words.x;
        kept[8 * K_TILES + word] = words.y;
      }
    }
  }
  return flagged;
}

// Where a lane's first numbers of a panel are.
inline threadgroup half* mine(threadgroup half* panel, Place at) {
  return panel + row_of(at.g) * ROW + 128 * at.simd + 8 * at.t;
}

inline float4 load_mine(threadgroup const half* from, int i) {
  return *(threadgroup const float4*)(from + i % 2 * 8 * ROW + i / 2 * 32);
}

// The largest number of the simdgroup's columns of a panel.
inline float size_of(threadgroup half* panel, Place at) {
  float most = 0.0f;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    float4 size = abs(load_mine(mine(panel, at), i));
    most = max(most, max(max(size.x, size.y), max(size.z, size.w)));
  }
  return largest_of_all(most);
}

// Splits the simdgroup's columns of a panel where they are: of 32 columns, those of t and 16 further have their high
// parts where the former were, and their low parts where the latter were. And makes its part of Y, transposed. `shift`
// is what the panels before needed, so that nothing waits for the largest number of this one; what is too large for it
// makes Y infinite, or not a number.
inline void multiply_v(threadgroup half* panel, thread const uint* kept, threadgroup float4* part,
                       threadgroup float* factors, thread int& shift, Place at) {
  threadgroup half* to = mine(panel, at);
  thread const uint *v_high = kept, *v_low = kept + 8 * K_TILES;
  float scale = power_of_2(shift), unscale = power_of_2(-shift), limit = SMALLEST * unscale;
  float4 x[8];
  float most = 0.0f, least = limit;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    x[i] = load_mine(to, i);
    float4 size = abs(x[i]);
    most = max(most, max(max(size.x, size.y), max(size.z, size.w)));
    least = min(least, min(min(size.x, size.y), min(size.z, size.w)));
  }
  bool flagged = false;
  if (least < limit) {  // which zeros are
#pragma unroll
    for (int i = 0; i < 8; i++) {
      flagged = flagged || is_small(x[i].x, limit) || is_small(x[i].y, limit) || is_small(x[i].z, limit) ||
                is_small(x[i].w, limit);
    }
  }
  flagged = simd_any(flagged);
  if (at.lane == 0) {
    factors[at.simd] = flagged ? LEFT_OUT : unscale;
  }

  float c[4 * K_TILES];  // tiles of 16 columns of V and 8 rows
  uint high[16];         // by rows: two words of 16 columns
  clear(c, 4 * K_TILES);
#pragma unroll
  for (int pair = 0; pair < 2; pair++) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      uint low[4];
#pragma unroll
      for (int s = 0; s < 2; s++) {
        float4 y = x[4 * pair + 2 * s + i] * scale;
        uint2 left = split(y.x, y.y), right = split(y.z, y.w);
        high[8 * pair + 4 * i + 2 * s] = left.x;
        high[8 * pair + 4 * i + 2 * s + 1] = right.x;
        low[2 * s] = left.y;
        low[2 * s + 1] = right.y;
#pragma unroll
        for (int n = 0; n < K_TILES / 2; n++) {
          int of_v = 4 * ((2 * pair + s) * (K_TILES / 2) + n);
          multiply_tiles(c + 4 * (2 * n + i), v_low + of_v, high + 8 * pair + 4 * i + 2 * s);
          multiply_tiles(c + 4 * (2 * n + i), v_high + of_v, low + 2 * s);
        }
      }
      threadgroup uint4* out = (threadgroup uint4*)(to + i * 8 * ROW + pair * 64);
      thread const uint* of = high + 8 * pair + 4 * i;
      out[0] = uint4(of[0], of[1], of[2], of[3]);
      out[4] = uint4(low[0], low[1], low[2], low[3]);
    }
  }
#pragma unroll
  for (int i = 0; i < 4 * K_TILES; i++) {
    c[i] *= 1.0f / LOW_SCALE;
  }
#pragma unroll
  for (int s = 0; s < 4; s++) {
#pragma unroll
    for (int n = 0; n < K_TILES; n++) {
      multiply_tiles(c + 4 * n, v_high + 4 * (s * (K_TILES / 2) + n / 2), high + s / 2 * 8 + n % 2 * 4 + s % 2 * 2);
    }
  }
#pragma unroll
  for (int n = 0; n < K_TILES; n++) {
    part[n * 32 + at.lane] = float4(c[4 * n], c[4 * n + 1], c[4 * n + 2], c[4 * n + 3]) * unscale;
  }
  float largest = largest_of_all(most);
  int wanted = narrow_shift(largest);
  shift = largest > 0.0f && (wanted < shift || wanted > shift + 3) ? wanted : shift;
}

// Adds the parts of Y and splits the sum, of which every 8 columns have a shift.
inline void add_parts(threadgroup const float4* parts, threadgroup const float* unscale, threadgroup half* y,
                      threadgroup float* factors, Place at) {
  for (int n = at.simd; n < K_TILES; n += SIMDS) {
    threadgroup const float2* from = (threadgroup const float2*)parts + ((n >> 1) * 128 + 2 * at.lane + (n & 1));
    float2 upper = from[0], lower = from[64];  // of the panel's rows
#pragma unroll
    for (int s = 1; s < SIMDS; s++) {
      upper += from[s * 2 * PART];
      lower += from[s * 2 * PART + 64];
    }
    float4 sum = float4(upper.x, upper.y, lower.x, lower.y) * unscale[8 * n + at.g];
    float4 size = abs(sum);
    float most = max(max(size.x, size.y), max(size.z, size.w));
    int shift = narrow_shift(largest_of_all(most));
    float scale = power_of_2(shift), back = power_of_2(-shift), limit = SMALLEST * back;
    bool holds = size.x < LARGEST_Y && size.y < LARGEST_Y && size.z < LARGEST_Y && size.w < LARGEST_Y;
    bool flagged = simd_any(!holds || is_small(sum.x, limit) || is_small(sum.y, limit) || is_small(sum.z, limit) ||
                            is_small(sum.w, limit));
    if (at.lane == 0) {
      factors[SIMDS + n] = flagged ? LEFT_OUT : back;
    }
    threadgroup half* to = y + (8 * n + at.g) * Y_ROW + 2 * at.t;
    uint2 first = split(sum.x * scale, sum.y * scale), second = split(sum.z * scale, sum.w * scale);
    *(threadgroup uint*)to = first.x;
    *(threadgroup uint*)(to + 8) = second.x;
    *(threadgroup uint*)(to + Y_LOW) = first.y;
    *(threadgroup uint*)(to + Y_LOW + 8) = second.y;
  }
}

// kept += A^T Y. False, and nothing is added, where the panel is to be left out.
inline bool multiply_y(thread uint* kept, threadgroup const half* panel, threadgroup const half* y,
                       threadgroup const float* factors, Place at) {
  float of_lane = factors[min(at.lane, FACTORS - 1)], of_a = factors[at.simd], unscale[K_TILES];
  int row = at.lane & 7, right = at.lane >> 3 & 1, lower = at.lane >> 4;
  uint y_high[2 * K_TILES], y_low[2 * K_TILES];
#pragma unroll
  for (int n = 0; n < K_TILES; n += 2) {
    threadgroup const half* from = y + (8 * n + lower * 8 + row) * Y_ROW + right * 8;
    load_tiles(from, y_high + 2 * n);
    load_tiles(from + Y_LOW, y_low + 2 * n);
  }
  if (simd_any(of_lane == LEFT_OUT)) {
    return false;
  }
#pragma unroll
  for (int n = 0; n < K_TILES; n++) {
    unscale[n] = of_a * factors[SIMDS + n];
  }
  threadgroup const half* from = panel + (lower * 8 + row_of(row)) * ROW + 128 * at.simd + right * 8;
#pragma unroll
  for (int j = 0; j < 4; j++) {
    uint high[4], low[4];
    load_tiles_turned(from + j / 2 * 64 + j % 2 * 16, high);
    load_tiles_turned(from + j / 2 * 64 + j % 2 * 16 + 32, low);
#pragma unroll
    for (int n = 0; n < K_TILES; n++) {
      float big[4], small[4];
      clear(big, 4);
      clear(small, 4);
      multiply_tiles(small, high, y_low + 2 * n);
      multiply_tiles(big, high, y_high + 2 * n);
      multiply_tiles(small, low, y_high + 2 * n);
#pragma unroll
      for (int i = 0; i < 4; i++) {
        float before = as_type<float>(kept[4 * (K_TILES * j + n) + i]);
        float x = fma(small[i], unscale[n] * (1.0f / LOW_SCALE), fma(big[i], unscale[n], before));
        kept[4 * (K_TILES * j + n) + i] = as_type<uint>(x);
      }
    }
  }
  return true;
}

// The row and column of the sum that a thread's i-th number is.
inline int2 place_in_sum(int i, Place at) {
  int tile = i / 4;
  return int2(64 * at.simd + column_of(tile / K_TILES, i % 4 / 2 * 8 + at.g), tile % K_TILES * 8 + 2 * at.t + i % 2);
}

// The same for a panel that was left out, in float32, by all threads.
inline void add_exactly(thread uint* kept, device const float* a, device const float* v, constant GemmParams& p,
                        long first, long end, threadgroup float* y, bool is_first, Place at) {
  int rows = int(min(end - first, long(PANEL)));
  device const float* panel = a + first * p.a_row;
  int thread_index = (is_first ? 0 : 32 * SIMDS) + 32 * at.simd + at.lane;
  for (int i = thread_index; i < rows * COLUMNS; i += THREADS) {
    int row = i / COLUMNS, column = i % COLUMNS;
    float sum = 0.0f;
    if (column < p.columns) {
      for (int j = 0; j < p.rows; j++) {
        sum = fma(panel[row * p.a_row + j], v[j * p.b_row + column * p.b_column], sum);
      }
    }
    y[i] = sum;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (!is_first) {
    for (int row = 0; row < rows; row++) {
#pragma unroll
      for (int i = 0; i < 16 * K_TILES; i++) {
        int2 place = place_in_sum(i, at);
        if (place.x < p.rows) {
          float x = fma(panel[row * p.a_row + place.x], y[row * COLUMNS + place.y], as_type<float>(kept[i]));
          kept[i] = as_type<uint>(x);
        }
      }
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

// Whether any thread says so. By all threads.
inline bool any_thread(bool says, threadgroup int* places, bool is_first, Place at) {
  bool any = simd_any(says);
  if (at.lane == 0) {
    places[(is_first ? 0 : SIMDS) + at.simd] = any ? 1 : 0;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  int found = 0;
  for (int i = 0; i < 2 * SIMDS; i++) {
    found |= places[i];
  }
  return found != 0;
}

[[max_total_threads_per_threadgroup(THREADS)]] kernel void z_step_half(
    device const float* a [[buffer(0)]], device const float* v [[buffer(1)]], device float* out [[buffer(2)]],
    device uint* flags [[buffer(3)]], constant GemmParams& p [[buffer(4)]],
    threadgroup float* memory [[threadgroup(0)]], uint3 group [[threadgroup_position_in_grid]],
    uint simd_index [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  threadgroup half* panels = (threadgroup half*)memory;
  threadgroup float4* parts = (threadgroup float4*)(panels + PANELS * PANEL * ROW);  // for two panels
  threadgroup half* y = (threadgroup half*)(parts + 2 * SIMDS * PART);               // for two
  threadgroup float* unscale = (threadgroup float*)(y + 4 * Y_LOW);
  threadgroup float* factors = unscale + COLUMNS;                     // for four
  threadgroup int* list = (threadgroup int*)(factors + 4 * FACTORS);  // how many, then which
  bool is_first = simd_index < uint(SIMDS);
  Place at;
  at.simd = int(simd_index % uint(SIMDS));
  at.lane = int(lane);
  at.g = at.lane >> 2;
  at.t = at.lane & 3;
  bool is_thread_0 = !is_first && at.simd == 0 && at.lane == 0;
  long begin = group.x * p.slab, end = min(long(begin + p.slab), long(p.contraction));
  int count = int((end - begin + PANEL - 1) / PANEL);

  uint kept[16 * K_TILES];  // of the first half V, of the second the sum
#pragma unroll
  for (int i = 0; i < 16 * K_TILES; i++) {
    kept[i] = 0u;
  }
  if (is_first) {
    load_panel(panels, a, p, begin, end, at);
    load_panel(panels + PANEL * ROW, a, p, begin + PANEL, end, at);
  }
  bool flagged = load_v(kept, v, p, (threadgroup float*)parts, unscale, is_first, at);
  if (is_thread_0) {
    list[0] = 0;
  }
  if (any_thread(flagged, (threadgroup int*)factors, is_first, at)) {
    copy_wait(false);
    if (is_thread_0) {
      flags[group.x] = 1u;
    }
    return;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  int shift = 0;
  if (is_first) {
    copy_wait(true);
    shift = narrow_shift(size_of(panels, at));
  }
  int slot = 0;  // of panel i
  for (int i = 0; i < count + 2; i++) {
    int next = slot + 2 < PANELS ? slot + 2 : slot + 2 - PANELS, last = slot >= 2 ? slot - 2 : slot - 2 + PANELS;
    if (is_first) {
      if (i < count) {
        copy_wait(true);
        load_panel(panels + next * PANEL * ROW, a, p, begin + long(i + 2) * PANEL, end, at);
        multiply_v(panels + slot * PANEL * ROW, kept, parts + ((i & 1) * SIMDS + at.simd) * PART,
                   factors + (i & 3) * FACTORS, shift, at);
      }
    } else {
      if (i >= 2 && !multiply_y(kept, panels + last * PANEL * ROW, y + (i & 1) * 2 * Y_LOW,
                                factors + (i - 2 & 3) * FACTORS, at)) {
        if (is_thread_0) {
          int found = list[0];
          list[0] = found + 1;
          if (found < LIST) {
            list[found + 1] = i - 2;
          }
        }
      }
      if (i >= 1 && i <= count) {
        add_parts(parts + (i - 1 & 1) * SIMDS * PART, unscale, y + (i - 1 & 1) * 2 * Y_LOW,
                  factors + (i - 1 & 3) * FACTORS, at);
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    slot = slot + 1 < PANELS ? slot + 1 : 0;
  }

  int left_out = list[0];
  if (is_thread_0) {
    flags[group.x] = left_out > LIST ? 1u : 0u;
  }
  if (left_out > LIST) {
    return;
  }
  for (int i = 0; i < left_out; i++) {
    add_exactly(kept, a, v, p, begin + long(list[i + 1]) * PANEL, end, (threadgroup float*)parts, is_first, at);
  }
  if (is_first) {
    return;
  }
  device float* z = out + long(group.x) * p.rows * p.columns;
#pragma unroll
  for (int i = 0; i < 16 * K_TILES; i++) {
    int2 place = place_in_sum(i, at);
    if (place.x < p.rows && place.y < p.columns) {
      z[place.x * p.columns + place.y] = as_type<float>(kept[i]);
    }
  }
}
