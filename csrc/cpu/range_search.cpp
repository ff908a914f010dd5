// The fast pass of a search for neighbours (knn_panels.h for many queries, knn_direct.h for a few) with a threshold
// that stays: the radius, moved outwards by the error bounds. What passes is scored in float64, which decides.
#include "cpu/range_search.h"

#include "cpu/knn_chunk.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

constexpr int64_t kHits = 1024;  // of a worker before they are handed over

// One worker.
class Worker {
 public:
  Worker(const RangeSearchArgs& args, const Chunk& chunk, int64_t first_query, Arena& arena)
      : args_(args), search_(chunk.search), first_query_(first_query) {
    hits_ = arena.take<RangeHit>(kHits);
    row_ = arena.take<float>(search_.database->cols);
    threshold_ = arena.take<float>(search_.num_queries);
  }
  static size_t bytes(int64_t num_queries, int64_t d) {
    return Arena::padded<RangeHit>(kHits) + Arena::padded<float>(d) + Arena::padded<float>(num_queries);
  }

  void begin(int64_t block) { block_ = block; }
  void finish() {
    if (num_hits_) {
      args_.emit(block_, hits_, num_hits_);
    }
    num_hits_ = 0;
  }

  const float* thresholds() const { return threshold_; }
  // What values of the fast pass may be, for values that are at most the score times `relative` plus `slack`.
  void set_threshold(int64_t q, double relative, double slack) {
    const Query& query = search_.queries[q];
    double limit = (args_.inner_product ? -static_cast<double>(args_.radius) : args_.radius) * query.scale;
    double t = limit - query.shift, error = (__builtin_fabs(limit) + __builtin_fabs(query.shift)) * 0x1p-23;
    float threshold = round_up((t + error) * (t > 0 ? relative : 1) + slack + kTiny);
    bool fast = query.pass == Pass::fast && t == t;
    threshold_[q] = fast ? (threshold < kFloatMax ? threshold : kFloatMax) : -__builtin_inff();
  }

  void score(int64_t q, int64_t row) {
    double score = score_row(search_, search_.queries[q], row, row_);
    float distance = static_cast<float>(args_.inner_product ? -score : score);
    bool near = args_.inner_product ? distance > args_.radius : distance < args_.radius;
    if (!near || !is_result(score)) {
      return;
    }
    hits_[num_hits_++] = {first_query_ + q, search_.database->stored_row(row), distance};
    if (num_hits_ == kHits) {
      finish();
    }
  }
  void score_rows(Pass pass, int64_t first, int64_t count) {
    for (int64_t q = 0; q < search_.num_queries; q++) {
      for (int64_t j = first; j < first + count && search_.queries[q].pass == pass; j++) {
        score(q, j);
      }
    }
  }

 private:
  const RangeSearchArgs& args_;
  const Search& search_;
  int64_t first_query_, block_ = 0, num_hits_ = 0;
  RangeHit* hits_;
  float *row_, *threshold_;
};

// Scores what passed in a tile of m queries.
void score_tile(Worker& worker, int64_t first_row, int64_t first_query, int64_t m, const float* tile) {
  for (int64_t i = 0; i < m; i++) {
    const vf threshold = broadcast(worker.thresholds()[first_query + i]);
    for (int j = 0; j < kTileVectors; j++) {
      for (uint32_t left = bits(load(tile + i * kTileCols + j * W) <= threshold); left; left &= left - 1) {
        worker.score(first_query + i, first_row + j * W + __builtin_ctz(left));
      }
    }
  }
}

// Calls work(block, first row, rows) for the blocks that this thread takes.
template <typename Work>
void each_block(Chunk& chunk, const Work& work) {
  int64_t rows = chunk.search.database->rows, step = chunk.rows_per_block;
  for (int64_t i; (i = __atomic_fetch_add(&chunk.next_block, 1, __ATOMIC_RELAXED)) * step < rows;) {
    work(i, i * step, at_most(step, rows - i * step));
  }
}

void work_on_panels(Chunk& chunk, Worker& worker, Arena& arena, int64_t panels_per_block) {
  const Search& s = chunk.search;
  int64_t d = s.database->cols, step = chunk.rows_per_block;
  QueryPanels panels(s.num_queries);
  PanelErrors error(d);
  PackedRows packed;
  Arena storage(Scratch::packed_b, PackedRows::bytes(step, d));
  packed.attach(storage.take<char>(PackedRows::bytes(step, d)), step, d);
  auto* partial = arena.take<float>(panels_per_block * kTileRows * kTileCols);
  auto* scratch = arena.take<float>(kTileCols * d);
  each_block(chunk, [&](int64_t block, int64_t first, int64_t count) {
    worker.begin(block);
    pack_rows(s, chunk.center, first, count, &packed, scratch);
    for (int64_t q = 0; q < s.num_queries; q++) {
      double norm = s.queries[q].norm, both = 2 * norm * packed.max_norm;
      double below = both < norm * norm ? both : norm * norm;
      worker.set_threshold(q, 1, (s.inner_product ? 0 : error.g * below) + (2 * d + 64) * kTiny);
    }
    for (int64_t panel = 0; panel < panels.count; panel += panels_per_block) {
      multiply_panels(chunk, worker.thresholds(), packed, panels, panel,
                      at_most(panel + panels_per_block, panels.count), nullptr, partial,
                      [&](int64_t row, int64_t query, int64_t m, const float* tile) {
                        score_tile(worker, first + row, query, m, tile);
                      });
    }
    for (int64_t i = 0; i < packed.num_special; i++) {
      worker.score_rows(Pass::fast, packed.special[i], 1);
    }
    worker.score_rows(Pass::exact, first, count);
    worker.finish();
  });
}

// Values of a few queries, which the direct block holds.
void score_block(const Search& s, Worker& worker, const DirectBlock& block, int64_t first, int64_t count) {
  const float largest = static_cast<float>(kLargest);
  double error = direct_error(s.database->cols), tiny = (s.database->cols + 64) * kTiny;
  for (int64_t q = 0; q < s.num_queries; q++) {
    for (int64_t j = 0; j < count; j++) {
      double norm2 = block.norm2[j];
      double above = s.inner_product ? error * __builtin_sqrt(norm2 * (1 + error) + tiny) + tiny : 0;
      bool unknown = !(norm2 <= largest) || block.value[q][j] > kFloatMax;
      if (s.queries[q].pass == Pass::fast && (unknown || block.value[q][j] - above <= worker.thresholds()[q])) {
        worker.score(q, first + j);
      }
    }
  }
}

void work_directly(Chunk& chunk, Worker& worker, Arena& arena) {
  const Search& s = chunk.search;
  int64_t d = s.database->cols;
  auto* block = take_direct_block(chunk, arena);
  auto* scratch = arena.take<float>(kDirectRows * d);
  for (int64_t q = 0; q < s.num_queries; q++) {
    worker.set_threshold(q, 1 + 3 * direct_error(d), 2 * (d + 64) * kTiny);
  }
  each_block(chunk, [&](int64_t at, int64_t first, int64_t count) {
    worker.begin(at);
    if (chunk.any_fast) {
      score_directly(s, first, count, block, scratch,
                     [&](int64_t row, int64_t n) { score_block(s, worker, *block, row, n); });
    }
    worker.score_rows(Pass::exact, first, count);
    worker.finish();
  });
}

// Queries [first, first + n) of the search.
void search_chunk(const RangeSearchArgs& args, int64_t first, int64_t n) {
  const Matrix& b = args.database;
  int64_t d = b.cols, threads = num_threads();
  const float* values = static_cast<const float*>(args.queries.data) + first * d;
  bool direct = n <= kDirectQueries || d > kLongest;
  int64_t unit = direct ? kDirectRows : kTileCols;
  int64_t step = at_least(block_rows(direct, n, threads, b), round_up(ceil_div(b.rows, kRangeBlocks), unit));
  Arena arena(Scratch::packed_a, Arena::padded<Query>(n) + Arena::padded<float>(n * d) + Arena::padded<float>(d));
  auto* queries = arena.take<Query>(n);
  auto* packed = arena.take<float>(n * d);
  auto* center = arena.take<float>(d);
  if (direct) {
    center = nullptr;
  } else {
    find_center(b, center);
  }
  Chunk chunk{
      {&b, args.inner_product, 0, 0, n, queries, 0, nullptr, nullptr}, direct, center, packed, false, false, step, 0};
  for (int64_t q = 0; q < n; q++) {
    queries[q] = prepare_query(values + q * d, center, d, args.inner_product);
    chunk.any_fast |= queries[q].pass == Pass::fast;
  }
  pack_queries(chunk, packed);
  int64_t panels_per_block = at_least(1, kQueryBlockBytes / (d * 4 * kTileRows));
  size_t bytes = Worker::bytes(n, d) + Arena::padded<float>(panels_per_block * kTileRows * kTileCols) +
                 Arena::padded<float>(kTileCols * d) + Arena::padded<DirectBlock>(1) +
                 Arena::padded<float>(direct ? kDirectRows * d : 0);
  parallel_for(at_most(threads, ceil_div(b.rows, step)), [&](int64_t) {
    Arena local(Scratch::tile, bytes);
    Worker worker(args, chunk, first, local);
    direct ? work_directly(chunk, worker, local) : work_on_panels(chunk, worker, local, panels_per_block);
  });
}

// Without columns every distance is 0.
void emit_all(const RangeSearchArgs& args) {
  bool near = args.inner_product ? 0 > args.radius : 0 < args.radius;
  for (int64_t q = 0; q < args.queries.rows && near; q++) {
    for (int64_t j = 0; j < args.database.rows; j++) {
      RangeHit hit{q, args.database.stored_row(j), 0};
      args.emit(0, &hit, 1);
    }
  }
}

}  // namespace

void range_search(const RangeSearchArgs& args) {
  int64_t n = args.queries.rows, d = args.database.cols;
  if (d == 0 || args.database.rows == 0) {
    return emit_all(args);
  }
  int64_t chunk = at_least(1, kPackedQueriesBytes / (4 * d) / kTileRows) * kTileRows;
  for (int64_t first = 0; first < n; first += chunk) {
    search_chunk(args, first, at_most(chunk, n - first));
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
