// An assignment is a search of radius: each point's guess is measured, and whatever centroid could be nearer is
// measured, too. Which could be is told by the leading coordinates of the sketches, in tiles of the matrix product
// (knn_panels.h), then, of those that are left, by the whole sketches.
#include "cpu/kmeans.h"
#include "cpu/kmeans_rows.h"
#include "cpu/knn_panels.h"
#include "cpu/knn_prepare.h"
#include "cpu/parallel.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

constexpr int64_t kPanels = 16;                   // of points, of a task
constexpr int64_t kPoints = kPanels * kTileRows;  // their leading coordinates stay in L1
constexpr int64_t kColumns = 64 * kTileCols;      // centroids at a time: theirs stay in L2

struct Centroids {
  const float* panels;  // leading coordinates and the length of the rest: [panel][lead + 1][kTileCols]
  const float* start;   // squared norms
  double norm, error;   // the largest of all
};

struct Candidate {
  float bound;
  int64_t centroid;
};

// A point, its best centroid so far, and what one that is as near may have at most.
struct Point {
  const float *x, *sketch;
  double norm2;  // of the sketch
  int64_t id;
  float best, product, bound;  // distance; value of a tile; squared distance of the sketches
};

// The length of what the leading coordinates leave out of a sketch.
float length_of_rest(const float* sketch, int64_t lead, int64_t p) {
  return __builtin_sqrtf(squared_norm(sketch + lead, p + 1 - lead));
}

class Assignment {
 public:
  Assignment(const KmeansAssignArgs& args, const Centroids& centroids)
      : a_(args), c_(centroids), depth_(args.lead + 1) {}

  void run(int64_t first) {
    int64_t count = at_most(kPoints, a_.n - first);
    Arena arena(Scratch::tile, Arena::padded<float>(kPoints * depth_) + Arena::padded<float>(kTileRows * kColumns) +
                                   Arena::padded<Candidate>(kColumns) + Arena::padded<Point>(kPoints));
    packed_ = arena.take<float>(kPoints * depth_);
    tiles_ = arena.take<float>(kTileRows * kColumns);
    candidates_ = arena.take<Candidate>(kColumns);
    auto* points = arena.take<Point>(kPoints);
    for (int64_t i = 0; i < count; i++) {
      int64_t panel = i / kTileRows * kTileRows;
      start(points[i], first + i, packed_ + panel * depth_ + i - panel, at_most(kTileRows, count - panel));
    }
    for (int64_t column = 0; column < a_.k; column += kColumns) {
      for (int64_t panel = 0; panel < count; panel += kTileRows) {
        scan(points + panel, at_most(kTileRows, count - panel), packed_ + panel * depth_, column,
             at_most(kColumns, a_.k - column));
      }
    }
    for (int64_t i = 0; i < count; i++) {
      a_.distances[first + i] = points[i].id < 0 ? kFloatMax : points[i].best;
      a_.ids[first + i] = points[i].id;
    }
  }

 private:
  void start(Point& point, int64_t at, float* packed, int64_t stride) {
    point = {a_.x + at * a_.d, a_.x_sketch + at * (a_.p + 2), 0, -1, __builtin_inff(), 0, 0};
    for (int64_t p = 0; p < a_.lead; p++) {
      packed[p * stride] = -2 * point.sketch[p];
    }
    packed[a_.lead * stride] = -2 * length_of_rest(point.sketch, a_.lead, a_.p);
    point.norm2 = squared_norm(point.sketch, a_.p + 1);
    set_bounds(point);
    if (a_.guess) {
      int64_t guess = a_.guess[at];
      measure(point, guess >= 0 && guess < a_.k ? guess : 0);
    }
  }

  // With n dimensions, a sum is off by less than n + 16 roundings; the roots of the rests by as many of the norms.
  void set_bounds(Point& point) const {
    double norm = __builtin_sqrt(point.norm2);
    double radius = __builtin_sqrt(point.best * (1 + (a_.d + 16) * 4 * kRound)) + point.sketch[a_.p + 1] + c_.error;
    double leading = radius + 2 * (a_.p + 16) * kRound * (norm + c_.norm);
    double error = 2.02 * (a_.p + 32) * kRound * (c_.norm * c_.norm + 2 * norm * c_.norm + point.norm2);
    point.bound = round_up(radius * radius * (1 + (a_.p + 32) * 4 * kRound) + a_.p * kTiny);
    point.product = round_up(leading * leading - point.norm2 + error);
  }

  void measure(Point& point, int64_t centroid) const {
    float distance = squared_distance(point.x, a_.centroids + centroid * a_.d, a_.d);
    if (distance < point.best) {
      point.best = distance;
      point.id = centroid;
      set_bounds(point);
    } else if (distance == point.best && centroid < point.id) {
      point.id = centroid;
    }
  }

  // A panel of points against centroids [first, first + count).
  void scan(Point* points, int64_t rows, const float* packed, int64_t first, int64_t count) {
    for (int64_t at = 0; at < count; at += kTileCols) {
      multiply_tile_of<kTileRows>(rows, false)({packed, c_.panels + (first + at) * depth_, depth_,
                                                c_.start + first + at, 0, nullptr, tiles_ + at * rows, nullptr, 0});
    }
    for (int64_t i = 0; i < rows; i++) {
      const float* values = tiles_ + i * kTileCols;
      if (points[i].id < 0) {
        guess(points[i], values, rows * kTileCols, first, count);
      }
      if (points[i].product <= kFloatMax) {
        scan_values(points[i], values, rows * kTileCols, first, count);
      } else {
        for (int64_t j = 0; j < count; j++) {
          measure(points[i], first + j);
        }
      }
    }
  }

  // Measures the centroid with the nearest sketch among those with the lowest value of each lane.
  void guess(Point& point, const float* values, int64_t stride, int64_t first, int64_t count) const {
    vf least[kTileVectors];
    vi where[kTileVectors] = {}, at{};
    for (vf& value : least) {
      value = broadcast(__builtin_inff());
    }
    for (int64_t column = 0; column < count; column += kTileCols, values += stride, at += kTileCols) {
      for (int j = 0; j < kTileVectors; j++) {
        vf value = load(values + j * W);
        vi less = value < least[j];
        least[j] = select(less, value, least[j]);
        where[j] = (less & at) | (~less & where[j]);
      }
    }
    float nearest = __builtin_inff();
    int64_t found = first;
    for (int i = 0; i < kTileCols && i < count; i++) {
      int64_t centroid = first + where[i / W][i % W] + i;
      float bound = sketch_distance(point, centroid);
      found = bound < nearest ? centroid : found;
      nearest = bound < nearest ? bound : nearest;
    }
    measure(point, found);
  }

  float sketch_distance(const Point& point, int64_t centroid) const {
    return squared_distance(point.sketch, a_.centroid_sketch + centroid * (a_.p + 2), a_.p + 1);
  }

  void scan_values(Point& point, const float* values, int64_t stride, int64_t first, int64_t count) {
    const vf most = broadcast(point.product);
    int64_t n = 0, nearest = 0;
    for (int64_t column = first; column < first + count; column += kTileCols, values += stride) {
      uint32_t left = 0;
      for (int j = 0; j < kTileVectors; j++) {
        left |= bits(load(values + j * W) <= most) << (j * W);
      }
      for (; left; left &= left - 1) {
        int64_t centroid = column + __builtin_ctz(left);
        float bound = sketch_distance(point, centroid);
        if (bound <= point.bound && centroid != point.id) {
          candidates_[n] = {bound, centroid};
          nearest = bound < candidates_[nearest].bound ? n : nearest;
          n++;
        }
      }
    }
    if (n > 0) {
      measure(point, candidates_[nearest].centroid);
      candidates_[nearest].bound = __builtin_inff();
    }
    for (int64_t i = 0; i < n; i++) {
      if (candidates_[i].bound <= point.bound) {
        measure(point, candidates_[i].centroid);
      }
    }
  }

  const KmeansAssignArgs& a_;
  const Centroids& c_;
  int64_t depth_;
  float *packed_, *tiles_;
  Candidate* candidates_;
};

}  // namespace

void kmeans_assign(const KmeansAssignArgs& a) {
  int64_t depth = a.lead + 1, columns = round_up(a.k, kTileCols);
  Arena arena(Scratch::packed_b, Arena::padded<float>(columns * depth) + Arena::padded<float>(columns));
  auto* panels = arena.take<float>(columns * depth);
  auto* start = arena.take<float>(columns);
  Centroids c{panels, start, 0, 0};
  bool finite = true;
  for (int64_t j = 0; j < columns; j++) {
    const float* sketch = a.centroid_sketch + at_most(j, a.k - 1) * (a.p + 2);
    float* to = panels + j / kTileCols * kTileCols * depth + j % kTileCols;
    for (int64_t p = 0; p < a.lead; p++) {
      to[p * kTileCols] = sketch[p];
    }
    float rest = length_of_rest(sketch, a.lead, a.p);
    to[a.lead * kTileCols] = rest;
    double norm2 = squared_norm(sketch, a.lead) + rest * rest, norm = __builtin_sqrt(norm2);
    start[j] = j < a.k ? static_cast<float>(norm2) : __builtin_inff();
    c.norm = norm > c.norm ? norm : c.norm;
    c.error = sketch[a.p + 1] > c.error ? sketch[a.p + 1] : c.error;
    finite = finite && norm2 <= kFloatMax && sketch[a.p + 1] <= kFloatMax;
  }
  c.norm = finite ? c.norm : __builtin_inf();  // then every centroid is measured
  parallel_for(ceil_div(a.n, kPoints), [&](int64_t task) { Assignment(a, c).run(task * kPoints); });
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
