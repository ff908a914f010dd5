// The launches that scan rows: metal/knn_scan.metal, metal/knn_scan_few.metal and metal/knn_tighten.metal.
#include <algorithm>

#include "gpu/plans/knn_planner.h"
#include "gpu/plans/knn_scan.h"

namespace metalfaiss::gpu::knn_plan {

namespace {

constexpr int64_t kScanStay = 2;           // tiles of queries that stay in threadgroup memory
constexpr int64_t kScanNarrow = 12;        // simdgroups of a core, whose registers hold rows of up to 128 columns
constexpr int64_t kScanWide = 8;           // and of more
constexpr int64_t kScanLongest = 512;      // list
constexpr int64_t kScanHeld = 16;          // pairs of a thread of knn_tighten and knn_finish_few
constexpr double kHalfError = 0x1.01p-10;  // of a product of two 16-bit floats, each rounded

}  // namespace

// Whether rows are scanned (metal/knn_scan.metal): with lists that are not long, and enough to do.
bool KnnPlanner::scans() const {
  if (limits_.scan_columns <= 0 || list_ == 0 || list_ > kScanLongest || g_.d == 0) {
    return false;
  }
  if (scans_few()) {
    return g_.batch.size() == 1 && g_.nb > limits_.scan_products / g_.d;
  }
  return g_.d <= limits_.scan_columns && g_.nq * g_.nb > limits_.few_products / g_.d &&
         (g_.batch.size() == 1 || g_.nb > limits_.scan_products / g_.d);
}

// Of a list: several times what a pass is expected to add.
int64_t KnnPlanner::scan_capacity() const {
  return list_ > 128 || scans_few() ? 16384 : list_ > 32 ? 8192 : 4096;
}

// How many times the rows that a threshold was made of a pass may read.
int64_t KnnPlanner::scan_growth(int64_t rank) const {
  return std::max<int64_t>(1, room_ / 4 / (rank + rank / 4 + 2));
}

int64_t KnnPlanner::scan_threads() const {
  return std::max<int64_t>(32, ceil_div(room_, kScanHeld));
}

KnnScanParams KnnPlanner::scan_params(const BatchPart& part, int64_t first, int64_t queries, int64_t tiles) const {
  KnnScanParams p{};
  p.a_offset = part.params.a_offset + first * g_.d;
  p.b_offset = part.params.b_offset;
  p.b_row = g_.b_row;
  p.b_col = g_.b_col;
  p.num_queries = static_cast<int32_t>(queries);
  p.nb = static_cast<int32_t>(g_.nb);
  p.d = static_cast<int32_t>(g_.d);
  p.tiles = static_cast<int32_t>(tiles);
  p.capacity = static_cast<int32_t>(room_);
  p.rank = static_cast<int32_t>(g_.l2 ? g_.k : list_);
  p.absolute = absolute_of_products();
  return p;
}

// How rows are read: `width` elements at once.
bool KnnPlanner::scans_vectors(const KnnScanParams& p, int64_t width) const {
  return g_.b_col == 1 && g_.d % width == 0 && g_.b_row % width == 0 && p.b_offset % width == 0 &&
         p.a_offset % 4 == 0 && (width == 8 ? g_.wide : g_.aligned);
}

// One tile of few queries, to the end.
void KnnPlanner::scan_few(const BatchPart& part, int64_t first, int64_t queries) {
  int64_t tiles = ceil_div(g_.nb, kScanFewRows);
  KnnScanParams p = scan_params(part, first, queries, tiles);
  p.relative = round_up(1.1 * (ceil_div(g_.d, 8) + 16) * kRound);
  int64_t wanted = std::max(ceil_div(tiles, scan_growth(p.rank)), room_ / kScanFewRows);
  p.step = static_cast<int32_t>(ceil_div(tiles, wanted));
  p.pass_tiles = static_cast<int32_t>(ceil_div(tiles, p.step));
  // Few minima of many rows may have lost some of the best rows to better ones.
  int64_t groups = p.pass_tiles, each = 8;
  while (groups * each < 4 * p.rank && each < kScanFewRows) {
    each *= 2;
  }
  groups = std::min(groups, kScanMostMinima / each);
  p.sharing = static_cast<int32_t>(kScanFewRows / each);
  p.minima = static_cast<int32_t>(groups * each);
  bool wide = g_.type != "float" && scans_vectors(p, 8);
  bool one = queries == 1;
  int64_t resident = !one ? 2 : wide ? 3 : 4;
  std::vector<Constant> constants{type(),
                                  metric(),
                                  {"QUERIES", one ? "1" : "4"},
                                  {"VECTORS", wide                  ? "2"
                                              : scans_vectors(p, 4) ? "1"
                                                                    : "0"},
                                  {"RESIDENT", std::to_string(resident)}};
  launch("knn_sample_few", constants, {read(input(0)), read(input(1)), write(minima_), write(counts_), bytes_of(p)},
         {groups, 1, 1});
  launch("knn_scan_few", constants,
         {read(input(0)), read(input(1)), read(minima_), read_write(found_), read_write(counts_), write(thresholds_),
          bytes_of(p)},
         {std::min(tiles, ceil_div(limits_.threadgroups * resident, 4)), 1, 1});
  launch("knn_finish_few", {type(), metric(), list(), {"THREADS", std::to_string(scan_threads())}},
         {read(input(0)), read(input(1)), read(found_), read(counts_), read(thresholds_), write(output(0)),
          write(output(1)), write(flags_), bytes_of(p), bytes_of(params(part, first, queries, slabs_))},
         {queries, 1, 1}, scan_threads());
}

// One tile of queries: lists_ gets twice LIST pairs of each.
void KnnPlanner::scan(const BatchPart& part, int64_t first, int64_t queries) {
  ScanShape shape = scan_shape(g_.d, limits_.scan_simdgroups);
  int64_t tiles = ceil_div(g_.nb, shape.tile_rows), query_tiles = ceil_div(queries, kScanTileQueries);
  KnnScanParams p = scan_params(part, first, queries, tiles);
  p.relative = relative_of_products(kHalfError, 8);
  bool wide = g_.type != "float" && scans_vectors(p, 8);
  Constant loads{"VECTORS", wide ? "2" : scans_vectors(p, 4) ? "1" : "0"}, dim{"DIM", std::to_string(shape.columns)};
  Memory center = g_.l2 ? center_ : input(0);  // without a centre nothing is read there
  int64_t resident = std::max<int64_t>(1, (shape.columns <= 128 ? kScanNarrow : kScanWide) / shape.simdgroups);
  launch("knn_scan_queries", {metric(), dim, loads},
         {read(input(0)), read(center), write(queries_), write(terms_), write(filters_), bytes_of(p)},
         {ceil_div(queries, kScanTileQueries) * kScanTileQueries / kSimdgroups, 1, 1});
  for (const ScanPass& pass : scan_passes(tiles, room_ / shape.tile_rows, scan_growth(p.rank))) {
    p.step = static_cast<int32_t>(pass.step);
    p.skip = static_cast<int32_t>(pass.skip);
    p.pass_tiles = static_cast<int32_t>(pass.tiles);
    p.filled = static_cast<int32_t>(pass.skip == 0 ? pass.tiles * shape.tile_rows : 0);
    p.last = pass.step == 1;
    int64_t parts = std::clamp<int64_t>(ceil_div(limits_.threadgroups, pass.tiles), 1, query_tiles);
    p.query_tiles = static_cast<int32_t>(ceil_div(query_tiles, parts));
    bool stay = p.query_tiles <= kScanStay;  // then as many threadgroups as there are at once take tiles in turns
    int64_t groups =
        stay ? std::min(pass.tiles, std::max<int64_t>(1, limits_.threadgroups * resident / 4)) : pass.tiles;
    launch("knn_scan",
           {type(),
            metric(),
            dim,
            loads,
            {"SIMDS", std::to_string(shape.simdgroups)},
            {"RESIDENT", std::to_string(resident)}},
           {read(input(1)), read(center), read(queries_), read(terms_), read(filters_), read(thresholds_),
            read_write(found_), read_write(counts_), bytes_of(p)},
           {groups, ceil_div(query_tiles, p.query_tiles), 1}, 32 * shape.simdgroups, shape.threadgroup_bytes);
    launch("knn_tighten", {metric(), list(), {"THREADS", std::to_string(scan_threads())}},
           {read_write(found_), read_write(counts_), read_write(thresholds_), write(lists_), read(terms_),
            write(filters_), bytes_of(p)},
           {queries, 1, 1}, scan_threads());
  }
}

}  // namespace metalfaiss::gpu::knn_plan
