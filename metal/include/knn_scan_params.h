#pragma once

// A pass over some tiles of rows, in which every query lists the rows below its threshold.
struct KnnScanParams {
  int64_t a_offset, b_offset, b_row, b_col;  // elements: the first query, the first row, strides of rows
  int32_t num_queries, nb, d;
  int32_t tiles;             // of all rows
  int32_t step, skip;        // of this pass: every step-th tile, but not every skip-th of those unless skip is 0
  int32_t pass_tiles;        // of this pass
  int32_t query_tiles;       // of a threadgroup
  int32_t capacity;          // of a list
  int32_t filled;            // pairs of each list where this is the first pass, which lists all its rows; otherwise 0
  int32_t last;              // whether no pass follows
  int32_t rank;              // of the bound that the threshold is made of: k for L2, LIST for inner products
  int32_t minima;            // few queries: keys of a query's sample, each the smallest of some rows',
  int32_t sharing;           // and the lanes that share one: a power of two
  float relative, absolute;  // bounds the error of a score
};
