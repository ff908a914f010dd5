#pragma once

#include "batch_params.h"

// A launch over a tile of queries: `num_queries` of each of the matrices of a part of the batch.
struct KnnParams {
  BatchParams batch;     // a: xq, from the first query of the tile, b: xb
  int64_t b_row, b_col;  // strides in elements; rows of xq are contiguous
  int64_t out_row;       // of the tile's first query,
  int64_t out_matrix;    // and from matrix to matrix: the queries of each
  int32_t num_queries, nb, d, k;
  int32_t slabs, slab_rows;  // lists of a query, and the rows of each
  int32_t capacity;          // of an exact list, at least k + 256
  int32_t always;            // exact lists: whether all queries need them, or those that are flagged
  float relative, absolute;  // bounds the error of an approximate score
};

// Rows as the product takes them.
struct KnnPrepareParams {
  int64_t offset, row, col;  // of the first row, strides, in elements
  int32_t rows, d;
  int32_t centred, copied;  // whether the centre is subtracted, and whether rows are written
  int32_t root;             // whether norms are written, or their squares
  float absolute;
};

// Scores of a chunk of rows: num_queries x rows.
struct KnnSelectParams {
  int32_t first_row, rows;
  int32_t segments, segment_rows;  // lists of a query, and the rows of each in this chunk
  int32_t fresh;                   // whether lists begin here
  float relative, absolute;
};
