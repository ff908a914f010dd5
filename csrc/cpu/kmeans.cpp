// An assignment is a search of radius: each point's guess is measured, and whatever centroid could be nearer is
// measured, too. Which could be is told by the sketches, p + 1 dimensions in place of d, in tiles of the matrix product
// that never leave the registers (knn_panels.h).
#include "cpu/kmeans.h"

#include "cpu/kmeans_rows.h"
#include "cpu/knn_panels.h"
#include "cpu/knn_prepare.h"
#include "cpu/parallel.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

constexpr int64_t kPoints = 16 * kTileRows;  // of a task: their sketches stay in L1 while centroids pass by

// What a task of an assignment works on.
struct Points {
  const KmeansAssignArgs* args;
  int64_t first, count;
  float threshold[kPoints];
  float best[kPoints];
  int64_t id[kPoints];
};

struct Centroids {
  const float* values;  // [tile][p + 1][kTileCols]
  const float* start;   // squared norms of the sketches
  double error, norm;   // the largest of all
};

// What a tile value may be at most for a centroid that is as near as the best one.
float threshold_of(const KmeansAssignArgs& a, const Centroids& c, const float* sketch, float best) {
  double norm2 = squared_norm(sketch, a.p + 1), norm = __builtin_sqrt(norm2);
  double radius = __builtin_sqrt(best * (1 + (a.d + 16) * 4 * kRound)) + sketch[a.p + 1] + c.error;
  double product_error = 1.01 * (a.p + 32) * kRound * (c.norm * c.norm + 2 * norm * c.norm + norm2);
  return round_up(radius * radius - norm2 + product_error);
}

void measure(Points& points, const Centroids& c, int64_t i, int64_t centroid) {
  const KmeansAssignArgs& a = *points.args;
  float distance = squared_distance(a.x + (points.first + i) * a.d, a.centroids + centroid * a.d, a.d);
  if (distance < points.best[i]) {
    points.threshold[i] = threshold_of(a, c, a.x_sketch + (points.first + i) * (a.p + 2), distance);
    points.best[i] = distance;
    points.id[i] = centroid;
  } else if (distance == points.best[i] && centroid < points.id[i]) {
    points.id[i] = centroid;
  }
}

void measure_tile(Points& points, const Centroids& c, int64_t begin, int64_t rows, int64_t column, const float* tile) {
  for (int64_t i = 0; i < rows; i++) {
    uint32_t left = 0;
    for (int j = 0; j < kTileVectors; j++) {
      left |= bits(load(tile + i * kTileCols + j * W) <= broadcast(points.threshold[begin + i])) << (j * W);
    }
    for (; left; left &= left - 1) {
      int64_t at = __builtin_ctz(left);
      if (column + at != points.id[begin + i] && tile[i * kTileCols + at] <= points.threshold[begin + i]) {
        measure(points, c, begin + i, column + at);
      }
    }
  }
}

void assign_points(const KmeansAssignArgs& a, const Centroids& c, int64_t first) {
  int64_t depth = a.p + 1;
  Points points{&a, first, at_most(kPoints, a.n - first), {}, {}, {}};
  Arena arena(Scratch::tile, Arena::padded<float>(kPoints * depth) + Arena::padded<float>(kTileRows * kTileCols));
  auto* packed = arena.take<float>(kPoints * depth);
  auto* tile = arena.take<float>(kTileRows * kTileCols);
  for (int64_t i = 0; i < points.count; i++) {
    int64_t panel = i / kTileRows * kTileRows, rows = at_most(kTileRows, points.count - panel);
    const float* sketch = a.x_sketch + (first + i) * (a.p + 2);
    for (int64_t p = 0; p < depth; p++) {
      packed[panel * depth + p * rows + i - panel] = -2 * sketch[p];
    }
    int64_t guess = a.guess[first + i];
    points.id[i] = guess >= 0 && guess < a.k ? guess : 0;
    points.best[i] = squared_distance(a.x + (first + i) * a.d, a.centroids + points.id[i] * a.d, a.d);
    points.threshold[i] = threshold_of(a, c, sketch, points.best[i]);
  }
  for (int64_t column = 0; column < a.k; column += kTileCols) {
    for (int64_t begin = 0; begin < points.count; begin += kTileRows) {
      int64_t rows = at_most(kTileRows, points.count - begin);
      Tile t{packed + begin * depth,
             c.values + column * depth,
             depth,
             c.start + column,
             0,
             points.threshold + begin,
             tile,
             nullptr,
             0};
      if (multiply_tile_of<kTileRows>(rows, false)(t)) {
        measure_tile(points, c, begin, rows, column, tile);
      }
    }
  }
  __builtin_memcpy(a.distances + first, points.best, points.count * sizeof(float));
  __builtin_memcpy(a.ids + first, points.id, points.count * sizeof(int64_t));
}

// The points of one cluster that are summed in one go. Where the cluster has several, their sums wait in `sums`.
struct Chunk {
  int64_t cluster, begin, end;
  double* sums;
};

// Sums x over `order`, and the weights, into d + 1 float64 values.
void sum_points(const KmeansMeansArgs& a, const int64_t* order, int64_t count, double* out) {
  __builtin_memset(out, 0, (a.d + 1) * sizeof(double));
  for (int64_t i = 0; i < count; i++) {
    const float* row = a.x + order[i] * a.d;
    double weight = a.weights ? a.weights[order[i]] : 1;
    vd weights = broadcast(weight);
    int64_t p = 0;
    for (; p + WD <= a.d; p += WD) {
      store(out + p, fma(load_double(row + p), weights, load(out + p)));
    }
    for (; p < a.d; p++) {
      out[p] += row[p] * weight;
    }
    out[a.d] += weight;
  }
}

void write_mean(const KmeansMeansArgs& a, int64_t cluster, const double* sums) {
  double total = sums[a.d];
  float* mean = a.means + cluster * a.d;
  for (int64_t p = 0; p < a.d; p++) {
    mean[p] = total != 0 ? static_cast<float>(sums[p] / total) : 0.0f;
  }
  a.totals[cluster] = static_cast<float>(total);
}

}  // namespace

void kmeans_assign(const KmeansAssignArgs& a) {
  int64_t depth = a.p + 1, columns = round_up(a.k, kTileCols);
  Arena arena(Scratch::packed_b, Arena::padded<float>(columns * depth) + Arena::padded<float>(columns));
  auto* values = arena.take<float>(columns * depth);
  auto* start = arena.take<float>(columns);
  Centroids c{values, start, 0, 0};
  for (int64_t j = 0; j < columns; j++) {
    const float* sketch = a.centroid_sketch + at_most(j, a.k - 1) * (a.p + 2);
    float* to = values + j / kTileCols * kTileCols * depth + j % kTileCols;
    for (int64_t p = 0; p < depth; p++) {
      to[p * kTileCols] = sketch[p];
    }
    double norm2 = squared_norm(sketch, depth), norm = __builtin_sqrt(norm2);
    start[j] = j < a.k ? static_cast<float>(norm2) : __builtin_inff();
    c.norm = norm > c.norm ? norm : c.norm;
    c.error = sketch[a.p + 1] > c.error ? sketch[a.p + 1] : c.error;
  }
  parallel_for(ceil_div(a.n, kPoints), [&](int64_t task) { assign_points(a, c, task * kPoints); });
}

void kmeans_means(const KmeansMeansArgs& a) {
  auto* order = static_cast<int64_t*>(a.workspace);
  int64_t* starts =
      order + a.n;  // k + 2: where each cluster's points begin in `order`, one ahead while they are placed
  __builtin_memset(starts, 0, (a.k + 2) * sizeof(int64_t));
  auto belongs = [&](int64_t i) { return a.ids[i] >= 0 && a.ids[i] < a.k; };
  for (int64_t i = 0; i < a.n; i++) {
    starts[belongs(i) ? a.ids[i] + 2 : 0]++;
  }
  starts[0] = 0;
  for (int64_t j = 2; j < a.k + 2; j++) {
    starts[j] += starts[j - 1];
  }
  for (int64_t i = 0; i < a.n; i++) {
    if (belongs(i)) {
      order[starts[a.ids[i] + 1]++] = i;
    }
  }
  auto* chunks = reinterpret_cast<Chunk*>(starts + a.k + 2);
  auto* sums = reinterpret_cast<double*>(chunks + a.k + a.n / kMeansChunk + 1);
  int64_t count = 0;
  for (int64_t j = 0; j < a.k; j++) {
    bool several = starts[j + 1] - starts[j] > kMeansChunk;
    int64_t at = starts[j];
    do {
      chunks[count++] = {j, at, at_most(at + kMeansChunk, starts[j + 1]), several ? sums : nullptr};
      sums += several ? a.d + 1 : 0;
      at += kMeansChunk;
    } while (at < starts[j + 1]);
  }
  constexpr int64_t kTogether = 8;
  parallel_for(ceil_div(count, kTogether), [&](int64_t task) {
    Arena arena(Scratch::tile, Arena::padded<double>(a.d + 1));
    auto* own = arena.take<double>(a.d + 1);
    for (int64_t c = task * kTogether; c < at_most((task + 1) * kTogether, count); c++) {
      const Chunk& chunk = chunks[c];
      sum_points(a, order + chunk.begin, chunk.end - chunk.begin, chunk.sums ? chunk.sums : own);
      if (!chunk.sums) {
        write_mean(a, chunk.cluster, own);
      }
    }
  });
  for (int64_t c = 0, next; c < count; c = next) {
    next = c + 1;
    for (; chunks[c].sums && next < count && chunks[next].cluster == chunks[c].cluster; next++) {
      for (int64_t p = 0; p <= a.d; p++) {
        chunks[c].sums[p] += chunks[next].sums[p];
      }
    }
    if (chunks[c].sums) {
      write_mean(a, chunks[c].cluster, chunks[c].sums);
    }
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
