#include "gpu/plans/knn.h"

#include <algorithm>

#include "gpu/plans/knn_planner.h"
#include "gpu/plans/knn_scan.h"

namespace metalfaiss::gpu {

namespace knn_plan {

namespace {

// Of metal/knn.metal and metal/knn_exact.metal.
constexpr int64_t kSelectRows = 1024;  // of a round of knn_select
constexpr int64_t kMostGroups = 65535;

constexpr int64_t kLongest = 1 << 17;  // more columns are left to the exact kernels

// The rows that are kept for a query, in view of the margin that proves results. 0 where there are too many.
int64_t list_size(int64_t k) {
  return k <= 16 ? 32 : k <= 104 ? 128 : k <= 460 ? 512 : k <= 1920 ? 2048 : 0;
}

// Queries of a threadgroup of knn_direct: what threadgroup memory has room for.
int64_t queries_at_once(int64_t nq, int64_t list) {
  int64_t most = list <= 128 ? 16 : list <= 512 ? 4 : 1;
  return nq == 1 || most == 1 ? 1 : nq <= 4 || most == 4 ? 4 : 16;
}

Division divide(int64_t rows, int64_t parts, int64_t unit) {
  int64_t each = ceil_div(ceil_div(rows, std::max<int64_t>(1, parts)), unit) * unit;
  return {ceil_div(rows, each), each};
}

}  // namespace

KnnPlanner::KnnPlanner(const Knn& g) : g_(g), limits_(g.limits) {
  list_ = g.d <= kLongest ? list_size(g.k) : 0;
  many_ = list_ > 0 && g.d > 0 && g.nq > limits_.few_queries && g.nq * g.nb > limits_.few_products / g.d;
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

Plan KnnPlanner::make() {
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

void KnnPlanner::divide_rows() {
  int64_t most = ceil_div(g_.nb, limits_.slab_rows);
  exact_ = divide(
      g_.nb,
      std::min({most, ceil_div(4 * limits_.threadgroups, tile_), limits_.scratch / 4 / (12 * capacity_ * tile_)}), 32);
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

void KnnPlanner::allocate() {
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

void KnnPlanner::launch(std::string kernel, std::vector<Constant> constants, std::vector<Argument> arguments,
                        Size groups, int64_t threads, int64_t threadgroup_bytes) {
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

Plan KnnPlanner::trivial() {
  int64_t all = g_.nq * g_.batch.size(), groups = ceil_div(all * g_.k, kThreads);
  KnnParams params{};
  params.out_row = all;
  params.nb = static_cast<int32_t>(g_.nb);
  params.k = static_cast<int32_t>(g_.k);
  launch("knn_trivial", {metric()}, {write(output(0)), write(output(1)), bytes_of(params)},
         {std::min(groups, kMostGroups), ceil_div(groups, kMostGroups), 1});
  return std::move(plan_);
}

KnnParams KnnPlanner::params(const BatchPart& part, int64_t first, int64_t queries, Division slabs) const {
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
void KnnPlanner::search(const BatchPart& part, int64_t first, int64_t queries) {
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

void KnnPlanner::find_center(const BatchPart& part) {
  KnnPrepareParams p{};
  p.offset = part.params.b_offset;
  p.row = g_.b_row;
  p.col = g_.b_col;
  p.rows = static_cast<int32_t>(g_.nb);
  p.d = static_cast<int32_t>(g_.d);
  launch("knn_center", {type()}, {read(input(1)), write(center_), bytes_of(p)}, {ceil_div(g_.d, kSimdgroups), 1, 1});
}

void KnnPlanner::prepare(const std::string& type, Rows rows, Memory to, Memory norms, bool copied) {
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

// L2: relative to |q|^2 + |b|^2, for the product, for the sums of squares and for moving the origin. Inner products:
// relative to |q| |b|.
float KnnPlanner::relative_of_products(double error, int64_t lanes) const {
  double product = 2 * g_.d * kRound + error;  // sums may be cut off as well
  return round_up(1.1 * (product + (ceil_div(g_.d, lanes) + 32) * kRound));
}

void KnnPlanner::select_from_products(const BatchPart& part, int64_t first, int64_t queries) {
  int64_t d = g_.d;
  bool queries_copied = g_.l2;
  prepare("float", {input(0), part.params.a_offset + first * d, d, 1, queries}, queries_, query_norms_, queries_copied);
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

}  // namespace knn_plan

Plan plan_knn(const Knn& g) {
  return knn_plan::KnnPlanner(g).make();
}

}  // namespace metalfaiss::gpu
