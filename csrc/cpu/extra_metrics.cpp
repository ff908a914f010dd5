// Queries meet blocks of rows that stay in the caches, four rows at a time: loads of a query are shared, and the sums
// are independent.
#include "cpu/extra_metrics.h"

#include "cpu/extra_metric_sums.h"
#include "cpu/knn_exact.h"
#include "cpu/knn_prepare.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

constexpr int kRows = 4;
constexpr int64_t kBlockRows = 64;
constexpr int64_t kTaskQueries = 16;
constexpr int64_t kFoundBytes = 4 << 20;  // of the results of a chunk of queries, for each of a few slices of the rows

METALFAISS_INLINE vi first_of_lanes(int64_t n) {
  vi lane;
  for (int i = 0; i < W; i++) {
    lane[i] = i;
  }
  return lane < static_cast<int32_t>(n);
}

template <typename Sum>
void score_rows(const float* query, const float* const (&rows)[kRows], int64_t d, float p, float* out) {
  Sum sums[kRows];
  const vi all = vi{} == vi{};
  int64_t at = 0;
  for (; at + W <= d; at += W) {
    vf x = load(query + at);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; r++) {
      sums[r].add(x, load(rows[r] + at), all, p);
    }
  }
  if (at < d) {
    int left = static_cast<int>(d - at);
    vi live = first_of_lanes(left);
    vf x = load_first(query + at, left);
    for (int r = 0; r < kRows; r++) {
      sums[r].add(x, load_first(rows[r] + at, left), live, p);
    }
  }
  for (int r = 0; r < kRows; r++) {
    out[r] = sums[r].result(d);
  }
}

// Calls take(query, row, distance) for queries [q, q + n) and rows [first, last), rows ascending for each query.
template <typename Sum, typename Take>
void score(const ExtraMetricArgs& g, int64_t q, int64_t n, int64_t first, int64_t last, const Take& take) {
  int64_t d = g.database.cols;
  Arena arena(Scratch::tile, Arena::padded<float>(kBlockRows * d));
  auto* scratch = arena.take<float>(kBlockRows * d);
  const float* queries = static_cast<const float*>(g.queries.data);
  for (int64_t block = first; block < last; block += kBlockRows) {
    int64_t count = at_most(kBlockRows, last - block);
    const float* rows[kBlockRows];
    for (int64_t j = 0; j < count; j++) {
      rows[j] = float_row(g.database, block + j, scratch + j * d);
    }
    for (int64_t i = q; i < q + n; i++) {
      for (int64_t j = 0; j < count; j += kRows) {
        const float* four[kRows];
        for (int r = 0; r < kRows; r++) {
          four[r] = rows[at_most(j + r, count - 1)];
        }
        float distance[kRows];
        score_rows<Sum>(queries + i * d, four, d, g.p, distance);
        for (int r = 0; r < kRows && j + r < count; r++) {
          take(i, block + j + r, distance[r]);
        }
      }
    }
  }
}

template <typename Sum>
void score_all(const ExtraMetricArgs& g) {
  int64_t rows = g.database.rows, across = ceil_div(rows, 8 * kBlockRows);
  parallel_for(ceil_div(g.queries.rows, kTaskQueries) * across, [&](int64_t t) {
    int64_t q = t / across * kTaskQueries, first = t % across * 8 * kBlockRows;
    score<Sum>(g, q, at_most(kTaskQueries, g.queries.rows - q), first, at_most(first + 8 * kBlockRows, rows),
               [&](int64_t i, int64_t j, float distance) { g.all[i * rows + j] = distance; });
  });
}

// Tasks take a part of the queries and, where there are few, a part of the rows, each with a heap of its own.
template <typename Sum>
void search(const ExtraMetricArgs& g) {
  bool similarity = g.metric == ExtraMetric::jaccard;
  int64_t n = g.queries.rows, rows = g.database.rows, k = at_most(g.k, rows);
  int64_t down = ceil_div(n, kTaskQueries), fair = ceil_div(2 * num_threads(), down);
  int64_t slices = at_least(1, at_most(fair, rows / (4 * kBlockRows))), step = ceil_div(rows, slices);
  Arena arena(Scratch::candidates, Arena::padded<Scored>(slices * n * k) + Arena::padded<int64_t>(slices * n));
  auto* found = arena.take<Scored>(slices * n * k);
  auto* sizes = arena.take<int64_t>(slices * n);
  parallel_for(down * slices, [&](int64_t t) {
    int64_t slice = t % slices, q = t / slices * kTaskQueries, count = at_most(kTaskQueries, n - q);
    alignas(TopK) char storage[kTaskQueries * sizeof(TopK)];
    auto* heaps = reinterpret_cast<TopK*>(storage);
    for (int64_t i = 0; i < count; i++) {
      heaps[i] = TopK(found + (slice * n + q + i) * k, k);
    }
    score<Sum>(g, q, count, slice * step, at_most((slice + 1) * step, rows), [&](int64_t i, int64_t j, float distance) {
      if (__builtin_fabsf(distance) <= kFloatMax) {
        heaps[i - q].push({similarity ? -distance : distance, g.database.stored_row(j)});
      }
    });
    for (int64_t i = 0; i < count; i++) {
      sizes[slice * n + q + i] = heaps[i].size();
    }
  });
  parallel_for(ceil_div(n, kTaskQueries), [&](int64_t t) {
    Arena local(Scratch::tile, Arena::padded<Scored>(k));
    auto* best = local.take<Scored>(k);
    for (int64_t q = t * kTaskQueries; q < at_most((t + 1) * kTaskQueries, n); q++) {
      TopK top(best, k);
      for (int64_t slice = 0; slice < slices; slice++) {
        for (int64_t i = 0; i < sizes[slice * n + q]; i++) {
          top.push(found[(slice * n + q) * k + i]);
        }
      }
      top.sort();
      write_results(top, g.k, similarity, g.distances + q * g.k, g.ids + q * g.k);
    }
  });
}

template <typename Sum>
void search_within(const ExtraMetricArgs& g) {
  bool similarity = g.metric == ExtraMetric::jaccard;
  int64_t rows = g.database.rows, step = at_least(kBlockRows, ceil_div(rows, kRangeBlocks));
  parallel_for(ceil_div(rows, step), [&](int64_t block) {
    score<Sum>(g, 0, g.queries.rows, block * step, at_most((block + 1) * step, rows),
               [&](int64_t i, int64_t j, float distance) {
                 bool near = similarity ? distance > g.radius : distance < g.radius;
                 if (near && __builtin_fabsf(distance) <= kFloatMax) {
                   RangeHit hit{i, g.database.stored_row(j), distance};
                   (*g.emit)(block, &hit, 1);
                 }
               });
  });
}

// A chunk of queries at a time, for results to find room in the scratch memory.
template <typename Sum>
void search_in_chunks(const ExtraMetricArgs& g) {
  int64_t k = at_least(1, at_most(g.k, g.database.rows));
  int64_t chunk = at_least(1, kFoundBytes / static_cast<int64_t>(sizeof(Scored)) / k / kTaskQueries) * kTaskQueries;
  for (int64_t first = 0; first < g.queries.rows; first += chunk) {
    ExtraMetricArgs part = g;
    part.queries.data = static_cast<const float*>(g.queries.data) + first * g.queries.cols;
    part.queries.rows = at_most(chunk, g.queries.rows - first);
    part.distances = g.distances + first * g.k;
    part.ids = g.ids + first * g.k;
    search<Sum>(part);
  }
}

template <typename Sum>
void run(const ExtraMetricArgs& g) {
  g.all ? score_all<Sum>(g) : g.distances ? search_in_chunks<Sum>(g) : search_within<Sum>(g);
}

}  // namespace

void extra_metrics(const ExtraMetricArgs& g) {
  if (g.queries.rows == 0 || (g.database.rows == 0 && !g.distances)) {
    return;
  }
  switch (g.metric) {
    case ExtraMetric::l1:
      return run<SumL1>(g);
    case ExtraMetric::linf:
      return run<SumLinf>(g);
    case ExtraMetric::lp:
      return run<SumLp>(g);
    case ExtraMetric::canberra:
      return run<SumCanberra>(g);
    case ExtraMetric::bray_curtis:
      return run<SumBrayCurtis>(g);
    case ExtraMetric::jensen_shannon:
      return run<SumJensenShannon>(g);
    case ExtraMetric::jaccard:
      return run<SumJaccard>(g);
    case ExtraMetric::nan_euclidean:
      return run<SumNanEuclidean>(g);
    case ExtraMetric::gower:
      return run<SumGower>(g);
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
