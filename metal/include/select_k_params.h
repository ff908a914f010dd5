// Parameters of the kernels of metal/select_k.metal, the same for the plan and the kernels.
#pragma once

#define SELECT_K_BATCH_DIMS 8

// Rows of x, split into segments of equal length (the last may be shorter).
struct SelectKParams {
  int64_t rows, n, segments, length;  // a segment has `length` values
  int64_t col_stride;                 // in elements, like every stride
  int64_t batch_shape[SELECT_K_BATCH_DIMS], batch_strides[SELECT_K_BATCH_DIMS];
  int64_t groups;       // of the grid: each takes every groups-th piece of work
  int32_t batch_dims;   // taken of the two arrays; the last varies fastest
  uint32_t misaligned;  // elements by which x begins behind a multiple of 16 bytes
  uint32_t threads;     // of a threadgroup
  uint32_t k;
  uint32_t capacity;  // of the queue: a power of two, at least k
  uint32_t room;      // of its buffer: a power of two
  uint32_t flip;      // 0x80000000 where the largest are wanted
  uint32_t infinity;  // the bits of infinity: see order_key
};

// Lists of k pairs, `lists` a row: every `fan_in` of them become one, `merged` a row.
struct SelectKMergeParams {
  int64_t rows, lists, fan_in, merged;
  int64_t groups;
  uint32_t threads, k, capacity, room;
};

// A digit of the keys: `bits` bits, of which `shift` are below and those above are known.
struct SelectKDigit {
  uint32_t shift, bits;
};

// Sorted runs of `run` pairs, of n a row, become runs of twice the length, of which the first k are kept.
struct SelectKSortParams {
  int64_t rows, n, run, tiles;  // tiles a row
  int64_t groups;
  uint32_t threads, tile;  // pairs that a threadgroup writes
};
