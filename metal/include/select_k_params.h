// Parameters of the kernels of metal/select_k.metal, the same for the plan and the kernels.
#pragma once

#define SELECT_K_BATCH_DIMS 8

// Rows of x, split into segments of equal length (the last may be shorter).
struct SelectKParams {
  int64_t rows, n, segments, length;  // a segment has `length` values
  int64_t col_stride;                 // in elements, like every stride
  int64_t batch_shape[SELECT_K_BATCH_DIMS], batch_strides[SELECT_K_BATCH_DIMS];
  int64_t groups;      // of the grid: each takes every groups-th piece of work
  int32_t batch_dims;  // taken of the two arrays; the last varies fastest
  int32_t misaligned;  // elements by which x is behind a multiple of 16 bytes
  uint32_t k;          // wanted; of a segment min(k, length)
  uint32_t capacity;   // of the queue: a power of two, at least k
  uint32_t room;       // of its buffer: a power of two
  uint32_t flip;       // 0x80000000 where the largest are wanted
  uint32_t infinity;   // the bits of infinity: see order_key
  uint32_t pass;       // of radix selection
};

// Lists of pairs, `lists` a row, of k each: every `fan_in` of them become one.
struct SelectKMergeParams {
  int64_t rows, lists, fan_in, merged;  // merged = ceil(lists / fan_in)
  int64_t groups;
  uint32_t k, capacity, room;
};

// A chunk of columns of a (rows, cols) float32 matrix, whose column 0 has the index `first_index`.
struct SelectKStepParams {
  int64_t rows, cols, row_stride, groups;
  uint32_t first_index;
  uint32_t k, capacity, room;
  uint32_t flip;
  int32_t misaligned;
  int32_t first;  // no pairs were found before
};
