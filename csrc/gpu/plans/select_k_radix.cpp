// Selection of any k: segments are filtered where they are much longer than k, the k-th key is found digit by digit (in
// registers where they hold a row), the pairs up to it are gathered and sorted.
#include <algorithm>
#include <utility>

#include "gpu/plans/select_k_parts.h"

namespace metalfaiss::gpu::select_k {

namespace {

constexpr int64_t kThreads = 256;      // of every kernel here but one
constexpr int64_t kRowThreads = 1024;  // of select_k_radix_row
constexpr int64_t kBins = 2048;
constexpr int64_t kRound = 4 * kThreads;  // values that the filter reads between two barriers
constexpr SelectKDigit kDigits32[] = {{21, 11}, {10, 11}, {0, 10}};
constexpr SelectKDigit kDigits16[] = {{21, 11}, {16, 5}};

// Where elements lie: x, or pairs made of it.
struct Source {
  Memory memory;
  SelectKParams rows;
  int bits;
};

struct Radix {
  Plan& plan;
  const SelectKArgs& args;
  const SelectKSizes& sizes;

  void add(const char* kernel, int bits, int64_t groups, std::vector<Argument> arguments) {
    plan.steps.push_back(launch(kernel, bits, groups, kThreads, std::move(arguments)));
  }

  void split(SelectKParams& p, int64_t length) const {
    p.threads = kThreads;
    p.segments = ceil_div(p.n, length);
    p.length = length;
    p.groups = groups_for(p.rows * p.segments, sizes);
  }

  Source x() const { return {input(0), rows_of(args), 8 * args.element_bytes}; }

  // The k best of every segment of x, in the order of the rows.
  Source filtered() {
    SelectKParams p = rows_of(args);
    int64_t wanted = std::max<int64_t>(1, ceil_div(sizes.wanted_groups, p.rows));
    int64_t segments = std::clamp<int64_t>(p.n / (sizes.filter_per_k * args.k), 1, wanted);
    split(p, ceil_div(p.n, segments));
    p.groups = std::min(p.groups, sizes.wanted_groups);  // each has an area of its own
    p.capacity = static_cast<uint32_t>(2 * args.k + kRound);
    Memory areas = plan.allocate(p.groups * p.capacity * kPairBytes);
    Memory lists = plan.allocate(p.rows * p.segments * args.k * kPairBytes);
    add("select_k_filter", 8 * args.element_bytes, p.groups,
        {read(input(0)), read_write(areas), write(lists), bytes_of(p)});
    return {lists, pair_rows(p.rows, p.segments * args.k, args.k), 64};
  }

  // The k best of every row, in no order.
  Source selected(Source from) {
    SelectKParams p = from.rows;
    split(p, sizes.radix_segment);
    SelectKParams each_row = p;
    each_row.groups = groups_for(p.rows, sizes);
    Memory histograms = plan.allocate(p.rows * kBins * 4), states = plan.allocate(p.rows * 2 * 4);
    Memory tallies = plan.allocate(p.rows * p.segments * 2 * 4);
    Memory pairs = plan.allocate(p.rows * args.k * kPairBytes);
    add("select_k_radix_begin", 32, each_row.groups, {write(histograms), write(states), bytes_of(each_row)});
    bool wide = args.element_bytes == 4;
    SelectKDigit digit{};
    for (int d = 0; d < (wide ? 3 : 2); d++) {
      digit = wide ? kDigits32[d] : kDigits16[d];
      add("select_k_radix_count", from.bits, p.groups,
          {read(from.memory), read(states), read_write(histograms), bytes_of(p), bytes_of(digit)});
      add("select_k_radix_choose", 32, each_row.groups,
          {read_write(histograms), read_write(states), bytes_of(each_row), bytes_of(digit)});
    }
    add("select_k_radix_tally", from.bits, p.groups,
        {read(from.memory), read(states), write(tallies), bytes_of(p), bytes_of(digit)});
    add("select_k_radix_offsets", 32, each_row.groups, {read_write(tallies), bytes_of(each_row)});
    add("select_k_radix_gather", from.bits, p.groups,
        {read(from.memory), read(states), read(tallies), write(pairs), bytes_of(p), bytes_of(digit)});
    return {pairs, pair_rows(p.rows, args.k, args.k), 64};
  }

  // The same where a threadgroup holds a row of x.
  Source selected_rows() {
    SelectKParams p = rows_of(args);
    p.groups = groups_for(p.rows, sizes);
    Memory pairs = plan.allocate(p.rows * args.k * kPairBytes);
    plan.steps.push_back(launch("select_k_radix_row", 8 * args.element_bytes, p.groups, kRowThreads,
                                {read(input(0)), write(pairs), bytes_of(p)}));
    return {pairs, pair_rows(p.rows, args.k, args.k), 64};
  }

  SelectKSortParams tiled(int64_t rows, int64_t n, int64_t written) const {
    SelectKSortParams s{};
    s.rows = rows;
    s.n = n;
    s.tile = static_cast<uint32_t>(sizes.sort_tile);
    s.tiles = ceil_div(written, sizes.sort_tile);
    s.groups = groups_for(rows * s.tiles, sizes);
    s.threads = kThreads;
    return s;
  }

  // Every row sorted.
  Source sorted(Source from) {
    SelectKSortParams s = tiled(from.rows.rows, from.rows.n, from.rows.n);
    int64_t bytes = s.rows * s.n * kPairBytes;
    Memory pairs = plan.allocate(bytes);
    add("select_k_sort_tiles", from.bits, s.groups,
        {read(from.memory), write(pairs), bytes_of(from.rows), bytes_of(s)});
    Memory other = s.n > sizes.sort_tile ? plan.allocate(bytes) : pairs;
    for (s.run = sizes.sort_tile; s.run < s.n; s.run *= 2) {
      add("select_k_merge_runs", 32, s.groups, {read(pairs), write(other), bytes_of(s)});
      std::swap(pairs, other);
    }
    return {pairs, pair_rows(s.rows, s.n, args.k), 64};
  }

  void written(Source from) {
    SelectKParams p = rows_of(args);
    SelectKSortParams s = tiled(p.rows, from.rows.n, args.k);
    add("select_k_write", 8 * args.element_bytes, s.groups,
        {read(from.memory), read(input(0)), write(output(0)), write(output(1)), bytes_of(p), bytes_of(s)});
  }
};

}  // namespace

void plan_radix(Plan& plan, const SelectKArgs& args, const SelectKSizes& sizes) {
  Radix radix{plan, args, sizes};
  int64_t n = args.shape.back();
  if (n > 2 * args.k && n <= sizes.radix_row) {
    radix.written(radix.sorted(radix.selected_rows()));
    return;
  }
  Source from = n >= sizes.filter_per_k * args.k ? radix.filtered() : radix.x();
  if (from.rows.n > 2 * args.k || (from.bits == 64 && from.rows.n > args.k)) {
    from = radix.selected(from);
  }
  radix.written(radix.sorted(from));
}

}  // namespace metalfaiss::gpu::select_k
