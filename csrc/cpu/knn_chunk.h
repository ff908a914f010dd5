// What searches for neighbours and searches by distance share: how a chunk of queries meets blocks of rows.
#pragma once

#include "cpu/knn_candidates.h"
#include "cpu/knn_direct.h"
#include "cpu/knn_panels.h"
#include "cpu/knn_prepare.h"
#include "cpu/parallel.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

inline constexpr int64_t kPackedRowsBytes = 256 << 10;  // with a block of queries, what an L2 of 512 KiB holds
inline constexpr int64_t kQueryBlockBytes = 192 << 10;
inline constexpr int64_t kDirectBytes = 256 << 10;       // of rows handed out at a time
inline constexpr int64_t kPackedQueriesBytes = 4 << 20;  // of a chunk
inline constexpr int64_t kFewQueries = 64;               // up to here the next block of rows stays in L2, too
inline constexpr int64_t kBlockPanels = 64;  // at most in a block, lest few dimensions make it all of the rows

// The search of a chunk, and what its workers share.
struct Chunk {
  Search search;
  bool direct;
  const float* center;          // panels only
  const float* packed_queries;  // panels: packed; direct: one after the other
  bool any_fast, any_exact;
  int64_t rows_per_block;  // of the database
  int64_t next_block;      // atomic
};

// How many rows are handed out to a worker at a time: what caches hold, but enough blocks to balance the workers.
inline int64_t block_rows(bool direct, int64_t num_queries, int64_t threads, const Matrix& b) {
  int64_t unit = direct ? kDirectRows : kTileCols, fair = ceil_div(b.rows, 8 * threads * unit);
  if (direct) {
    return at_least(1, at_most(fair, kDirectBytes / (b.cols * size_of(b.type) * unit))) * unit;
  }
  int64_t bytes = num_queries <= kFewQueries ? kPackedRowsBytes / 2 : kPackedRowsBytes;
  return at_least(1, at_most(at_most(fair, kBlockPanels), bytes / (b.cols * 4 * unit))) * unit;
}

// `packed`: num_queries * d floats.
inline void pack_queries(const Chunk& chunk, float* packed) {
  int64_t n = chunk.search.num_queries, d = chunk.search.database->cols;
  if (chunk.direct) {
    for (int64_t q = 0; q < n; q++) {
      const Query& query = chunk.search.queries[q];
      for (int64_t p = 0; p < d; p++) {
        float x = query.values[p];
        packed[q * d + p] = chunk.search.inner_product ? static_cast<float>(-query.scale * x) : x;
      }
    }
    return;
  }
  QueryPanels panels(n);
  parallel_for(ceil_div(panels.count, 16), [&](int64_t i) {
    for (int64_t panel = 16 * i; panel < at_most(16 * i + 16, panels.count); panel++) {
      pack_query_panel(chunk.search, chunk.center, panels, panel, packed);
    }
  });
}

// Packed rows against the panels [first, last) of the queries. Meanwhile the first tile of every panel of rows fetches
// as many rows from `soon`, where it is not null. Calls collect(row of the block, first query, queries, tile) for every
// tile in which a value is within its query's threshold.
template <typename Collect>
void multiply_panels(const Chunk& chunk, const float* thresholds, const PackedRows& rows, const QueryPanels& panels,
                     int64_t first, int64_t last, const char* soon, float* partial, const Collect& collect) {
  const Search& s = chunk.search;
  int64_t d = s.database->cols, passes = ceil_div(d, kDepth), depth = ceil_div(d, passes);
  int64_t element = size_of(s.database->type);
  for (int64_t j = 0; j < rows.count; j += kTileCols) {
    for (int64_t p = 0; p < d; p += depth) {
      float* out = partial;
      for (int64_t panel = first; panel < last; panel++) {
        int64_t begin = panels.begin(panel), m = panels.begin(panel + 1) - begin;
        bool finished = p + depth >= d, fetch = soon && panel == first;
        Tile tile{chunk.packed_queries + begin * d + p * m,
                  rows.values + j * d + p * kTileCols,
                  at_most(depth, d - p),
                  p == 0 ? rows.start + j : out,
                  p == 0 ? 0 : kTileCols,
                  finished ? thresholds + begin : nullptr,
                  out,
                  fetch ? soon + (j * d + p * kTileCols) * element : nullptr,
                  kTileCols * element};
        if (multiply_tile_of<kTileRows>(m, fetch)(tile) && finished) {
          collect(j, begin, m, out);
        }
        out += passes > 1 ? kTileRows * kTileCols : 0;
      }
    }
  }
}

METALFAISS_INLINE DirectBlock* take_direct_block(const Chunk& chunk, Arena& arena) {
  auto* block = arena.take<DirectBlock>(1);
  __builtin_memset(block, 0, sizeof *block);
  for (int i = 0; i < kDirectQueries; i++) {
    block->queries[i] = chunk.packed_queries + at_most(i, chunk.search.num_queries - 1) * chunk.search.database->cols;
  }
  return block;
}

// Rows [first, first + count) against a few queries: calls collect(row, n) when the block holds the values of rows
// [row, row + n). `scratch` holds kDirectRows * d floats.
template <typename Collect>
void score_directly(const Search& s, int64_t first, int64_t count, DirectBlock* block, float* scratch,
                    const Collect& collect) {
  const Matrix& b = *s.database;
  int64_t d = b.cols;
  for (int64_t j = 0; j < count; j += kDirectRows) {
    int64_t n = at_most(kDirectRows, count - j), at = first + j;
    Matrix rows = b;
    if (b.col_stride != 1 || b.type == Float::code) {
      for (int64_t i = 0; i < n; i++) {
        float_row(b, at + i, scratch + i * d);
      }
      rows = {scratch - at * d, Float::f32, b.rows, d, d, 1};
    }
    if (s.inner_product) {
      direct_block<true>(rows, at, n, s.num_queries, block);
    } else {
      direct_block<false>(rows, at, n, s.num_queries, block);
    }
    collect(at, n);
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
