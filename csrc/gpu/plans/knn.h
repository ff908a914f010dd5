// The plan of an exact search. See metal/knn.metal for the kernels.
#pragma once

#include <string>

#include "gpu/launch.h"
#include "gpu/plans/batch.h"

namespace metalfaiss::gpu {

// How a search is divided. Tests choose small limits to reach every edge with small inputs.
struct KnnLimits {
  int64_t few_queries = 32;        // up to here a query reads the rows itself, and
  int64_t few_products = 1 << 24;  // up to this many products nq * nb * d, too; beyond, matrix products do
  int64_t threadgroups = 512;      // to occupy a GPU
  int64_t slab_rows = 512;         // of a threadgroup, at least
  int64_t tile_queries = 2048;     // searched together, at most
  int64_t scratch = 64 << 20;      // bytes, except where a single query needs more: about 24 k
  // How far the product rounds its operands, relatively: MLX multiplies float32 in TF32, whose 10 bits may be cut off,
  // on NVIDIA GPUs and on Apple's with matrix units. 0 for float32.
  double product_error = 0x1p-9;
  // Up to this many columns rows are scanned by matrix instructions, where a query needs more than `scan_products` of
  // them; -1: what the device is for. 0 keeps to the other ways.
  int64_t scan_columns = -1;
  int64_t scan_products = 1 << 21;
  int64_t scan_simdgroups = 4;  // of a threadgroup that scans
  int64_t scan_capacity = 0;    // of the list of a query; 0: by k
};

struct Knn {
  std::string type;  // of xb, in Metal's words: float, half, bfloat
  int64_t nq, nb, d, k;
  int64_t b_row, b_col;  // strides in elements; rows of xq are contiguous
  Batch batch;           // a: xq, b: xb
  bool l2;
  KnnLimits limits = {};
  bool aligned = true;  // the first elements of xq and xb lie at multiples of the size of four of them,
  bool wide = true;     // and that of xb of eight
};

// Inputs xq (float32), xb; outputs distances (float32), ids (int64), both (batch, nq, k) and not empty.
Plan plan_knn(const Knn& g);

}  // namespace metalfaiss::gpu
