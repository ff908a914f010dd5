// A search of a chunk of queries has three steps:
//   1. a fast float32 pass over blocks of rows, handed out to workers that each keep candidates (knn_candidates.h):
//      knn_panels.h for many queries, knn_direct.h for a few;
//   2. for each query, the union of the workers' candidates, which holds every one of the k nearest rows;
//   3. their distances in float64, and the k best by (distance, id) (knn_exact.h).
#include "cpu/knn.h"

#include "cpu/knn_candidates.h"
#include "cpu/knn_chunk.h"
#include "cpu/knn_exact.h"
#include "cpu/knn_prepare.h"
#include "cpu/parallel.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

constexpr int64_t kCandidateBytes = 6 << 20;  // of a chunk and worker

void score_rows_exactly(const Chunk& chunk, Candidates& candidates, int64_t first, int64_t count, float* row) {
  for (int64_t q = 0; q < chunk.search.num_queries; q++) {
    for (int64_t j = first; j < first + count && chunk.search.queries[q].pass == Pass::exact; j++) {
      candidates.insert_exactly(q, j, row);
    }
  }
}

void search_block_directly(const Chunk& chunk, Candidates& candidates, int64_t first, int64_t count, DirectBlock* block,
                           float* scratch) {
  const Search& s = chunk.search;
  score_directly(s, first, count, block, scratch, [&](int64_t at, int64_t n) {
    if (s.inner_product) {
      collect_inner_product(s, candidates, *block, at, n, scratch);
    } else {
      collect_l2(s, candidates, *block, at, n);
    }
  });
}

void work_directly(Chunk& chunk, Candidates& candidates) {
  const Search& s = chunk.search;
  int64_t d = s.database->cols;
  Arena arena(Scratch::tile, sizeof(DirectBlock) + 64 + Arena::padded<float>(kDirectRows * d));
  auto* block = take_direct_block(chunk, arena);
  auto* scratch = arena.take<float>(kDirectRows * d);
  if (!s.inner_product) {
    candidates.set_relative(1 + 3 * direct_error(d));
    for (int64_t q = 0; q < s.num_queries; q++) {
      candidates.set_slack(q, 2 * (d + 64) * kTiny);
    }
  }
  int64_t rows = s.database->rows, step = chunk.rows_per_block;
  for (int64_t i; (i = __atomic_fetch_add(&chunk.next_block, 1, __ATOMIC_RELAXED)) * step < rows;) {
    int64_t count = at_most(step, rows - i * step);
    for (int64_t q = 0; q < s.num_queries; q++) {
      candidates.refresh(q);
    }
    if (chunk.any_fast) {
      search_block_directly(chunk, candidates, i * step, count, block, scratch);
    }
    if (chunk.any_exact) {
      score_rows_exactly(chunk, candidates, i * step, count, scratch);
    }
  }
}

// Rows that float32 arithmetic cannot hold, each against each query.
void score_special_rows(const Search& s, Candidates& candidates, const PackedRows& rows, float* row) {
  for (int64_t i = 0; i < rows.num_special; i++) {
    for (int64_t q = 0; q < s.num_queries; q++) {
      const Query& query = s.queries[q];
      double norm = rows.special_norm[i], apart = norm > query.norm ? norm - query.norm : 0;
      double bound = s.inner_product ? -norm : apart * apart - query.shift;
      double error = 1e-9 * (s.inner_product ? norm : apart * apart + query.shift);
      if (query.pass == Pass::fast && bound - error <= candidates.tau(q)) {
        candidates.insert_exactly(q, rows.special[i], row);
      }
    }
  }
}

void set_slacks(const Search& s, Candidates& candidates, double row_norm) {
  int64_t d = s.database->cols;
  PanelErrors error(d);
  for (int64_t q = 0; q < s.num_queries; q++) {
    double norm = s.queries[q].norm, both = 2 * norm * row_norm, below = both < norm * norm ? both : norm * norm;
    candidates.refresh(q);
    candidates.set_slack(q, (s.inner_product ? 0 : error.g * below) + (2 * d + 64) * kTiny);
  }
}

void work_on_panels(Chunk& chunk, Candidates& candidates) {
  const Search& s = chunk.search;
  int64_t d = s.database->cols, rows = s.database->rows, step = chunk.rows_per_block;
  QueryPanels panels(s.num_queries);
  int64_t panels_per_block = at_least(1, kQueryBlockBytes / (d * 4 * kTileRows));
  PackedRows packed;
  Arena storage(Scratch::packed_b, PackedRows::bytes(step, d));
  packed.attach(storage.take<char>(PackedRows::bytes(step, d)), step, d);
  int64_t tiles = panels_per_block * kTileRows * kTileCols;
  Arena arena(Scratch::tile, Arena::padded<float>(tiles) + Arena::padded<float>(kTileCols * d));
  auto* partial = arena.take<float>(tiles);
  auto* scratch = arena.take<float>(kTileCols * d);
  // The next block is claimed early, so that it can be fetched while this one is multiplied.
  auto claim = [&] { return __atomic_fetch_add(&chunk.next_block, 1, __ATOMIC_RELAXED); };
  const Matrix& b = *s.database;
  bool contiguous = b.col_stride == 1 && b.row_stride == d && !b.picked;
  for (int64_t i = claim(), next = claim(); i * step < rows; i = next, next = claim()) {
    int64_t count = at_most(step, rows - i * step);
    const char* soon = contiguous && (next + 1) * step <= rows
                           ? static_cast<const char*>(b.data) + next * step * d * size_of(b.type)
                           : nullptr;
    pack_rows(s, chunk.center, i * step, count, &packed, scratch);
    set_slacks(s, candidates, packed.max_norm);
    for (int64_t panel = 0; panel < panels.count; panel += panels_per_block) {
      multiply_panels(chunk, candidates.thresholds(), packed, panels, panel,
                      at_most(panel + panels_per_block, panels.count), panel == 0 ? soon : nullptr, partial,
                      [&](int64_t row, int64_t query, int64_t m, const float* tile) {
                        collect(s, candidates, packed, row, query, m, tile);
                      });
    }
    score_special_rows(s, candidates, packed, scratch);
    if (chunk.any_exact) {
      score_rows_exactly(chunk, candidates, i * step, count, scratch);
    }
  }
}

// The results of one query, from the candidates of all workers.
void select_results(const KnnArgs& args, const Search& s, const Candidates* workers, int64_t num_workers, int64_t q,
                    float* distances, int64_t* ids) {
  int64_t d = s.database->cols, total = 0;
  for (int64_t w = 0; w < num_workers; w++) {
    total += workers[w].size(q);
  }
  Arena arena(Scratch::tile, Arena::padded<Scored>(s.k) + Arena::padded<float>(d) + Arena::padded<float>(total) +
                                 Arena::padded<int32_t>(total));
  TopK top(arena.take<Scored>(s.k), s.k);
  auto* row = arena.take<float>(d);
  auto* upper = arena.take<float>(total);
  auto* near = arena.take<int32_t>(total);
  int64_t at = 0, num_near = 0;
  for (int64_t w = 0; w < num_workers; w++) {
    __builtin_memcpy(upper + at, workers[w].upper(q), workers[w].size(q) * sizeof(float));
    at += workers[w].size(q);
  }
  float tau = bound_of_kth(upper, total, s.k);
  for (int64_t w = 0; w < num_workers; w++) {
    const float* lower = workers[w].lower(q);
    for (int64_t i = 0; i < workers[w].size(q); i++) {
      near[num_near] = workers[w].rows(q)[i];
      num_near += lower[i] <= tau;
    }
  }
  for (int64_t i = 0; i < num_near; i++) {
    if (i + 2 < num_near) {
      prefetch_row(*s.database, near[i + 2]);
    }
    double score = score_row(s, s.queries[q], near[i], row);
    if (is_result(score)) {
      top.push({score, args.database.stored_row(near[i])});
    }
  }
  top.sort();
  write_results(top, args.k, args.inner_product, distances, ids);
}

int64_t capacity_for(const KnnArgs& args) {
  int64_t k = at_most(args.k, args.database.rows);
  return at_most(ceil_div(k + at_least(k, 54), 16) * 16, args.database.rows);
}

// Queries [first, first + n) of the search.
void search_chunk(const KnnArgs& args, int64_t first, int64_t n, int64_t threads) {
  const Matrix& b = args.database;
  int64_t d = b.cols;
  const float* values = static_cast<const float*>(args.queries.data) + first * d;
  bool direct = n <= kDirectQueries || d > kLongest;
  int64_t rows_per_block = block_rows(direct, n, threads, b),
          num_workers = at_most(threads, ceil_div(b.rows, rows_per_block));
  Arena arena(Scratch::packed_a, Arena::padded<Query>(n) + Arena::padded<float>(n) +
                                     Arena::padded<float>(num_workers * n) + Arena::padded<float>(n * d) +
                                     Arena::padded<float>(d) + Arena::padded<Candidates>(num_workers));
  auto* queries = arena.take<Query>(n);
  auto* tau = arena.take<float>(n);
  auto* share = arena.take<float>(num_workers * n);
  auto* packed = arena.take<float>(n * d);
  auto* center = arena.take<float>(d);
  auto* workers = arena.take<Candidates>(num_workers);
  if (direct) {
    center = nullptr;
  } else {
    find_center(b, center);
  }
  Chunk chunk{
      {&b, args.inner_product, at_most(args.k, b.rows), capacity_for(args), n, queries, num_workers, tau, share},
      direct,
      center,
      packed,
      false,
      false,
      rows_per_block,
      0};
  for (int64_t q = 0; q < n; q++) {
    queries[q] = prepare_query(values + q * d, chunk.center, d, args.inner_product);
    tau[q] = kFloatMax;
    chunk.any_fast |= queries[q].pass == Pass::fast;
    chunk.any_exact |= queries[q].pass == Pass::exact;
  }
  pack_queries(chunk, packed);
  size_t bytes = Arena::padded<char>(Candidates::bytes(n, chunk.search.capacity));
  char* storage = static_cast<char*>(thread_scratch(Scratch::candidates, num_workers * bytes + 1));
  for (int64_t w = 0; w < num_workers; w++) {
    workers[w] = Candidates();
    workers[w].attach(&chunk.search, w, storage + w * bytes);
    workers[w].clear();
  }
  parallel_for(num_workers,
               [&](int64_t w) { direct ? work_directly(chunk, workers[w]) : work_on_panels(chunk, workers[w]); });
  parallel_for(ceil_div(n, 4), [&](int64_t i) {
    for (int64_t q = 4 * i; q < at_most(4 * i + 4, n); q++) {
      int64_t out = (first + q) * args.k;
      select_results(args, chunk.search, workers, num_workers, q, args.distances + out, args.ids + out);
    }
  });
}

// Without rows there is nothing, without columns every distance is 0.
void write_trivial_results(const KnnArgs& args) {
  for (int64_t i = 0; i < args.queries.rows * args.k; i++) {
    bool found = i % args.k < args.database.rows;
    args.distances[i] = found ? 0.0f : args.inner_product ? -kFloatMax : kFloatMax;
    args.ids[i] = found ? args.database.stored_row(i % args.k) : -1;
  }
}

}  // namespace

void knn(const KnnArgs& args) {
  int64_t n = args.queries.rows, d = args.database.cols;
  if (d == 0 || args.database.rows == 0) {
    return write_trivial_results(args);
  }
  int64_t per_query = 12 * capacity_for(args);
  int64_t limit = at_most(kPackedQueriesBytes / (4 * d), kCandidateBytes / per_query);
  int64_t chunk = at_least(1, limit / kTileRows) * kTileRows;
  // With few rows, threads take chunks of the queries instead of blocks of the rows.
  int64_t blocks = ceil_div(args.database.rows * d * 4, kPackedRowsBytes), threads = num_threads();
  if (blocks < 4 * threads && n >= 4 * threads * kTileRows) {
    chunk = at_most(chunk, ceil_div(n, 2 * threads * kTileRows) * kTileRows);
    return parallel_for(ceil_div(n, chunk),
                        [&](int64_t i) { search_chunk(args, i * chunk, at_most(chunk, n - i * chunk), 1); });
  }
  for (int64_t first = 0; first < n; first += chunk) {
    search_chunk(args, first, at_most(chunk, n - first), threads);
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
