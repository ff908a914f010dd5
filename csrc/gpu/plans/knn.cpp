#include "gpu/plans/knn.h"

#include <algorithm>
#include <cmath>

#include "gpu/plans/knn_scan.h"
#include "knn_params.h"
#include "knn_scan_params.h"

namespace metalfaiss::gpu {

namespace {

// Of metal/knn.metal and metal/knn_exact.metal.
constexpr int64_t kThreads = 256;
constexpr int64_t kSimdgroups = 8;
constexpr int64_t kSelectRows = 1024;  // of a round of knn_select
constexpr int64_t kMostGroups = 65535;

constexpr double kRound = 0x1p-24;     // relative error of a float32 operation
constexpr double kTiny = 0x1p-126;     // error of one that underflows, where subnormal numbers are flushed
constexpr int64_t kLongest = 1 << 17;  // more columns are left to the exact kernels

// Of metal/knn_scan.metal.
constexpr int64_t kScanStay = 2;           // tiles of queries that stay in threadgroup memory
constexpr int64_t kScanNarrow = 12;        // simdgroups of a core, whose registers hold rows of up to 128 columns
constexpr int64_t kScanWide = 8;           // and of more
constexpr int64_t kScanFew = 4;            // queries that it takes without matrix instructions
constexpr int64_t kScanLongest = 512;      // list
constexpr int64_t kScanHeld = 16;          // pairs of a thread of knn_tighten and knn_finish_few
constexpr double kHalfError = 0x1.01p-10;  // of a product of two 16-bit floats, each rounded

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

float round_up(double x) {
  return static_cast<float>(x * (1 + 0x1p-22));
}

// The rows that are kept for a query, in view of the margin that proves results. 0 where there are too many.
int64_t list_size(int64_t k) {
  return k <= 16 ? 32 : k <= 104 ? 128 : k <= 460 ? 512 : k <= 1920 ? 2048 : 0;
}

// Queries of a threadgroup of knn_direct: what threadgroup memory has room for.
int64_t queries_at_once(int64_t nq, int64_t list) {
  int64_t most = list <= 128 ? 16 : list <= 512 ? 4 : 1;
  return nq == 1 || most == 1 ? 1 : nq <= 4 || most == 4 ? 4 : 16;
}

// How rows are divided among threadgroups.
struct Division {
  int64_t parts, rows;
};

Division divide(int64_t rows, int64_t parts, int64_t unit) {
  int64_t each = ceil_div(ceil_div(rows, std::max<int64_t>(1, parts)), unit) * unit;
  return {ceil_div(rows, each), each};
}

class Planner {
 public:
  explicit Planner(const Knn& g) : g_(g), limits_(g.limits) {
    list_ = g.d <= kLongest ? list_size(g.k) : 0;
    many_ = list_ > 0 && g.nq > limits_.few_queries && g.nq * g.nb > limits_.few_products / std::max<int64_t>(1, g.d);
    scan_ = scans();
    capacity_ = g.k + std::max(g.k, kThreads);
    tile_ = std::min({g.nq * g.batch.size(), limits_.tile_queries, limits_.scratch / 4 / (12 * capacity_)});
    if (list_ > 0) {
      tile_ = std::min(tile_, limits_.scratch / 8 / (8 * list_));
    }
    if (scan_) {
      room_ = limits_.scan_capacity > 0 ? limits_.scan_capacity : scan_capacity();
      tile_ = std::min({tile_, g.nq, limits_.scratch / 2 / (8 * room_)});
    } else if (many_) {
      tile_ = std::min({tile_, g.nq, limits_.scratch / 8 / (4 * g.d)});
    }
    tile_ = std::max<int64_t>(tile_, 1);
  }

  Plan make() {
    if (g_.nb == 0 || g_.d == 0) {
      return trivial();
    }
    divide_rows();
    allocate();
    // Whole matrices, as many as a tile takes, or tiles of the queries of one.
    bool one = many_ || scan_;
    int64_t matrices = one ? 1 : std::max<int64_t>(1, tile_ / g_.nq), queries = std::min(tile_, g_.nq);
    for (const BatchPart& part : parts_of(g_.batch, matrices)) {
      if ((scan_ ? !scans_few() : many_) && g_.l2) {
        find_center(part);
      }
      for (int64_t first = 0; first < g_.nq; first += queries) {
        search(part, first, std::min(queries, g_.nq - first));
      }
    }
    return std::move(plan_);
  }

 private:
  void divide_rows() {
    int64_t most = ceil_div(g_.nb, limits_.slab_rows);
    exact_ = divide(
        g_.nb,
        std::min({most, ceil_div(4 * limits_.threadgroups, tile_), limits_.scratch / 4 / (12 * capacity_ * tile_)}),
        32);
    if (list_ == 0) {
      return;
    }
    if (scan_) {
      slabs_ = {scans_few() ? 0 : 2, g_.nb};  // knn_tighten hands on two lists' worth
      return;
    }
    int64_t lists = limits_.scratch / 8 / (8 * list_ * tile_);
    if (!many_) {
      at_once_ = queries_at_once(g_.nq, list_);
      int64_t groups = g_.nq <= tile_ ? tile_ / g_.nq * ceil_div(g_.nq, at_once_) : ceil_div(tile_, at_once_);
      slabs_ = divide(g_.nb, std::min({most, ceil_div(limits_.threadgroups, groups), lists}), kThreads / at_once_);
      return;
    }
    copied_ = g_.l2 || g_.type != "float" || g_.b_col != 1 || g_.b_row < g_.d;
    int64_t left = limits_.scratch / 2, each = 4 * (tile_ + 1 + (copied_ ? g_.d : 0));
    chunk_ = std::max<int64_t>(std::min(g_.nb, left / each), 32);
    chunk_ = chunk_ < g_.nb && chunk_ > 256 ? chunk_ / 256 * 256 : chunk_;
    slabs_ = divide(chunk_, std::min(ceil_div(limits_.threadgroups, tile_), lists), kSelectRows);
  }

  void allocate() {
    flags_ = plan_.allocate(4 * tile_);
    scores_ = plan_.allocate(8 * tile_ * exact_.parts * capacity_);
    rows_ = plan_.allocate(4 * tile_ * exact_.parts * capacity_);
    if (list_ > 0 && slabs_.parts > 0) {
      lists_ = plan_.allocate(8 * tile_ * slabs_.parts * list_);
    }
    if (scan_) {
      found_ = plan_.allocate(8 * tile_ * room_);
      counts_ = plan_.allocate(4 * tile_);
      thresholds_ = plan_.allocate(4 * tile_);
      if (scans_few()) {
        minima_ = plan_.allocate(4 * tile_ * kScanMostMinima);
        return;
      }
      int64_t padded = ceil_div(tile_, kScanTileQueries) * kScanTileQueries;
      filters_ = plan_.allocate(8 * padded);
      center_ = plan_.allocate(4 * g_.d);
      queries_ = plan_.allocate(2 * padded * scan_shape(g_.d, 1).columns);
      terms_ = plan_.allocate(12 * padded);
    } else if (many_) {
      center_ = plan_.allocate(4 * g_.d);
      queries_ = plan_.allocate(4 * tile_ * g_.d);
      query_norms_ = plan_.allocate(4 * tile_);
      database_ = plan_.allocate(copied_ ? 4 * chunk_ * g_.d : 4);
      row_norms_ = plan_.allocate(4 * chunk_);
      products_ = plan_.allocate(4 * tile_ * chunk_);
    }
  }

  Constant type() const { return {"T", g_.type}; }
  Constant metric() const { return {"L2", g_.l2 ? "1" : "0"}; }
  Constant list() const { return {"LIST", std::to_string(list_)}; }

  void launch(std::string kernel, std::vector<Constant> constants, std::vector<Argument> arguments, Size groups,
              int64_t threads = kThreads, int64_t threadgroup_bytes = 0) {
    std::string family = kernel.ends_with("_few")                                     ? "knn_scan_few"
                         : kernel.starts_with("knn_scan")                             ? "knn_scan"
                         : kernel.starts_with("knn_exact") || kernel == "knn_trivial" ? "knn_exact"
                         : kernel == "knn_tighten"                                    ? kernel
                                                                                      : "knn";
    plan_.steps.push_back(Launch{family,
                                 std::move(kernel),
                                 std::move(constants),
                                 std::move(arguments),
                                 groups,
                                 {threads, 1, 1},
                                 threadgroup_bytes});
  }

  Plan trivial() {
    int64_t all = g_.nq * g_.batch.size(), groups = ceil_div(all * g_.k, kThreads);
    KnnParams params{};
    params.out_row = all;
    params.nb = static_cast<int32_t>(g_.nb);
    params.k = static_cast<int32_t>(g_.k);
    launch("knn_trivial", {metric()}, {write(output(0)), write(output(1)), bytes_of(params)},
           {std::min(groups, kMostGroups), ceil_div(groups, kMostGroups), 1});
    return std::move(plan_);
  }

  KnnParams params(const BatchPart& part, int64_t first, int64_t queries, Division slabs) const {
    KnnParams p{};
    p.batch = part.params;
    p.batch.a_offset += first * g_.d;
    p.b_row = g_.b_row;
    p.b_col = g_.b_col;
    p.out_row = part.first * g_.nq + first;
    p.out_matrix = g_.nq;
    p.num_queries = static_cast<int32_t>(queries);
    p.nb = static_cast<int32_t>(g_.nb);
    p.d = static_cast<int32_t>(g_.d);
    p.k = static_cast<int32_t>(g_.k);
    p.slabs = static_cast<int32_t>(slabs.parts);
    p.slab_rows = static_cast<int32_t>(slabs.rows);
    p.capacity = static_cast<int32_t>(capacity_);
    p.always = list_ == 0;
    p.relative = round_up(1.1 * (ceil_div(g_.d, 32) + 16) * kRound);
    p.absolute = round_up((2 * g_.d + 64) * kTiny);
    return p;
  }

  // One tile of queries.
  void search(const BatchPart& part, int64_t first, int64_t queries) {
    if (list_ > 0) {
      KnnParams p = params(part, first, queries, slabs_);
      if (scan_ && scans_few()) {
        scan_few(part, first, queries);
      } else if (scan_) {
        scan(part, first, queries);
      } else if (many_) {
        select_from_products(part, first, queries);
      } else {
        launch("knn_direct", {type(), metric(), {"QUERIES", std::to_string(at_once_)}, list()},
               {read(input(0)), read(input(1)), write(lists_), bytes_of(p)},
               {slabs_.parts, ceil_div(queries, at_once_), part.count});
      }
      if (slabs_.parts > 0) {
        launch("knn_finish", {type(), metric(), list()},
               {read(input(0)), read(input(1)), read(lists_), write(output(0)), write(output(1)), write(flags_),
                bytes_of(p)},
               {queries, 1, part.count});
      }
    }
    KnnParams p = params(part, first, queries, exact_);
    launch("knn_exact", {type(), metric()},
           {read(input(0)), read(input(1)), read(flags_), read_write(scores_), read_write(rows_), bytes_of(p)},
           {exact_.parts, queries, part.count});
    launch("knn_exact_merge", {metric()},
           {read(flags_), read_write(scores_), read_write(rows_), write(output(0)), write(output(1)), bytes_of(p)},
           {queries, 1, part.count});
  }

  void find_center(const BatchPart& part) {
    KnnPrepareParams p{};
    p.offset = part.params.b_offset;
    p.row = g_.b_row;
    p.col = g_.b_col;
    p.rows = static_cast<int32_t>(g_.nb);
    p.d = static_cast<int32_t>(g_.d);
    launch("knn_center", {type()}, {read(input(1)), write(center_), bytes_of(p)}, {ceil_div(g_.d, kSimdgroups), 1, 1});
  }

  struct Rows {
    Memory from;
    int64_t offset, row, col, count;  // strides in elements
  };

  void prepare(const std::string& type, Rows rows, Memory to, Memory norms, bool copied) {
    KnnPrepareParams p{};
    p.offset = rows.offset;
    p.row = rows.row;
    p.col = rows.col;
    p.rows = static_cast<int32_t>(rows.count);
    p.d = static_cast<int32_t>(g_.d);
    p.centred = g_.l2;
    p.copied = copied;
    p.root = !g_.l2;
    p.absolute = absolute_of_products();
    // Without a centre nothing is read there.
    launch("knn_prepare", {{"T", type}},
           {read(rows.from), read(g_.l2 ? center_ : input(0)), write(to), write(norms), bytes_of(p)},
           {ceil_div(rows.count, kSimdgroups), 1, 1});
  }

  float absolute_of_products() const { return round_up((4 * g_.d + 64) * kTiny); }

  // L2: relative to |q|^2 + |b|^2, for the product, for the sums of squares and for moving the origin. Inner products:
  // relative to |q| |b|.
  float relative_of_products(double error, int64_t lanes = 32) const {
    double product = 2 * g_.d * kRound + error;  // sums may be cut off as well
    return round_up(1.1 * (product + (ceil_div(g_.d, lanes) + 32) * kRound));
  }

  void select_from_products(const BatchPart& part, int64_t first, int64_t queries) {
    int64_t d = g_.d;
    bool queries_copied = g_.l2;
    prepare("float", {input(0), part.params.a_offset + first * d, d, 1, queries}, queries_, query_norms_,
            queries_copied);
    for (int64_t row = 0; row < g_.nb; row += chunk_) {
      int64_t rows = std::min(chunk_, g_.nb - row), offset = part.params.b_offset + row * g_.b_row;
      prepare(g_.type, {input(1), offset, g_.b_row, g_.b_col, rows}, database_, row_norms_, copied_);
      Memory a = queries_copied ? queries_ : input(0, 4 * (part.params.a_offset + first * d));
      Memory b = copied_ ? database_ : input(1, 4 * offset);
      bool tf32 = g_.limits.product_error >= 0x1p-9;
      plan_.steps.push_back(Product{a, b, products_, queries, rows, d, d, copied_ ? d : g_.b_row, true, tf32});
      KnnSelectParams p{};
      p.first_row = static_cast<int32_t>(row);
      p.rows = static_cast<int32_t>(rows);
      p.segments = static_cast<int32_t>(slabs_.parts);
      p.segment_rows = static_cast<int32_t>(slabs_.rows);
      p.fresh = row == 0;
      p.relative = relative_of_products(limits_.product_error);
      p.absolute = absolute_of_products();
      launch("knn_select", {metric(), list()},
             {read(products_), read(query_norms_), read(row_norms_), read_write(lists_), bytes_of(p)},
             {slabs_.parts, queries, 1});
    }
  }

  // Whether rows are scanned (metal/knn_scan.metal): with lists that are not long, and enough to do.
  bool scans() const {
    if (limits_.scan_columns <= 0 || list_ == 0 || list_ > kScanLongest || g_.d == 0) {
      return false;
    }
    if (scans_few()) {
      return g_.batch.size() == 1 && g_.nb > limits_.scan_products / g_.d;
    }
    return g_.d <= limits_.scan_columns && g_.nq * g_.nb > limits_.few_products / g_.d &&
           (g_.batch.size() == 1 || g_.nb > limits_.scan_products / g_.d);
  }

  bool scans_few() const { return g_.nq <= kScanFew; }

  // Of a list: several times what a pass is expected to add.
  int64_t scan_capacity() const { return list_ > 128 || scans_few() ? 16384 : list_ > 32 ? 8192 : 4096; }

  // How many times the rows that a threshold was made of a pass may read.
  int64_t scan_growth(int64_t rank) const { return std::max<int64_t>(1, room_ / 4 / (rank + rank / 4 + 2)); }

  int64_t scan_threads() const { return std::max<int64_t>(32, ceil_div(room_, kScanHeld)); }

  KnnScanParams scan_params(const BatchPart& part, int64_t first, int64_t queries, int64_t tiles) const {
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
  bool scans_vectors(const KnnScanParams& p, int64_t width) const {
    return g_.b_col == 1 && g_.d % width == 0 && g_.b_row % width == 0 && p.b_offset % width == 0 &&
           p.a_offset % 4 == 0 && (width == 8 ? g_.wide : g_.aligned);
  }

  // One tile of few queries, to the end.
  void scan_few(const BatchPart& part, int64_t first, int64_t queries) {
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
  void scan(const BatchPart& part, int64_t first, int64_t queries) {
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

  const Knn& g_;
  const KnnLimits& limits_;
  Plan plan_;
  bool many_, scan_ = false, copied_ = false;
  int64_t list_, capacity_, tile_, room_ = 0, chunk_ = 0, at_once_ = 0;
  Division exact_{}, slabs_{};
  Memory flags_{}, scores_{}, rows_{}, lists_{}, center_{}, queries_{}, query_norms_{}, database_{}, row_norms_{},
      products_{}, found_{}, counts_{}, thresholds_{}, terms_{}, filters_{}, minima_{};
};

}  // namespace

Plan plan_knn(const Knn& g) {
  return Planner(g).make();
}

}  // namespace metalfaiss::gpu
