// The nearest centroid of each point. Distances of all pairs are bounded from below by products of both rounded to
// 8-bit integers; the centroid with the lowest bound is measured, and then those whose bound is below that distance.
// Where bounds are left from the last assignment, and few of them are low, only the pairs of those are looked at.
#include "cpu/kmeans.h"
#include "cpu/kmeans_centroids.h"
#include "cpu/kmeans_rows.h"
#include "cpu/parallel.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

constexpr int64_t kTogether = 4;  // panels of points that meet a panel of centroids while it is in L1
constexpr int64_t kPoints = 4 * kTogether * kTileRows;  // of a task
constexpr int64_t kColumnCodes = 5 << 16;               // of centroids at a time: of an L2 of 512 KB
constexpr int64_t kAhead = 2;                           // rows that are fetched before they are measured
constexpr int64_t kFew = 8;  // of a point's pairs one in so many, at most, is looked at alone: else all are, in tiles
constexpr int64_t kSingle = 2;  // low pairs of a point, up to which it is not rounded for them

struct Candidate {
  float value;
  int64_t centroid;
};

// A point, its best centroid so far, and what the bound of one that is as near may be at most: a squared distance less
// the point's own squared norm.
struct Point {
  int64_t row;
  const float* x;
  uint8_t* bounds;  // or null
  double norm2;
  bool known;
  int64_t id;
  float best, most;
};

class Assignment {
 public:
  Assignment(const KmeansAssignArgs& args, const Centroids& centroids)
      : a_(args),
        c_(centroids),
        point_codes_(code_steps(args.d) * kGroup),
        row_codes_(row_steps(args.d) * kGroup),
        codes_width_(kmeans_codes_width(args.d)),
        width_(kmeans_bounds_width(args.k)),
        per_step_(static_cast<float>(1 / (kSafely * kSafely * centroids.step))),
        columns_(at_most(at_least(kColumnCodes / row_codes_ / kTileCols, 1) * kTileCols, round_up(args.k, kTileCols))) {
  }

  void run(int64_t first) {
    int64_t count = at_most(kPoints, a_.n - first);
    Arena arena(Scratch::tile,
                Arena::padded<Code>(kPoints * point_codes_) + Arena::padded<Code>(codes_width_) +
                    Arena::padded<int8_t>(codes_width_) + 3 * Arena::padded<float>(kPoints) +
                    Arena::padded<float>(round_up(a_.d, W)) + Arena::padded<float>(kTogether * kTileRows * columns_) +
                    Arena::padded<float>(kTogether * kTileRows * columns_ / kTileVectors) +
                    Arena::padded<Candidate>(round_up(a_.k, kTileCols)) + Arena::padded<int32_t>(width_ + W) +
                    Arena::padded<float>(width_ + W) + Arena::padded<Point>(kPoints));
    packed_ = arena.take<Code>(kPoints * point_codes_);
    codes_ = arena.take<Code>(codes_width_);
    integers_ = arena.take<int8_t>(codes_width_);
    scales_ = arena.take<float>(kPoints);
    errors_ = arena.take<float>(kPoints);
    lengths_ = arena.take<float>(kPoints);
    centred_ = arena.take<float>(round_up(a_.d, W));
    values_ = arena.take<float>(kTogether * kTileRows * columns_);
    lowest_ = arena.take<float>(kTogether * kTileRows * columns_ / kTileVectors);
    candidates_ = arena.take<Candidate>(round_up(a_.k, kTileCols));
    near_ = arena.take<int32_t>(width_ + W);
    near_values_ = arena.take<float>(width_ + W);
    auto* points = arena.take<Point>(kPoints);
    for (int64_t i = 0; i < count; i++) {
      int64_t row = first + i;
      points[i] = {row, a_.x + row * a_.d, bounds_of(row), 0, false, -1, __builtin_inff(), __builtin_inff()};
    }
    int64_t wide = c_.moved ? split_by_bounds(points, count) : count;
    look_at_all(points, wide);
    for (int64_t i = wide; i < count; i++) {
      look_at_low(points[i]);
    }
    for (int64_t i = 0; i < count; i++) {
      a_.ids[points[i].row] = points[i].id;
      if (a_.distances) {
        a_.distances[points[i].row] = points[i].id < 0 ? kFloatMax : points[i].best;
      }
    }
  }

  int64_t measured = 0;  // distances of vectors

 private:
  uint8_t* bounds_of(int64_t row) const { return keeps_bounds(a_) ? a_.memory->bounds + row * width_ : nullptr; }

  // Measures the last centroid of each point, and lowers the bounds. Those of which many bounds are low come first;
  // returns how many they are.
  int64_t split_by_bounds(Point* points, int64_t count) {
    int64_t wide = 0;
    for (int64_t i = 0; i < count; i++) {
      Point point = points[i];
      prefetch(last_of(points[at_most(i + kAhead, count - 1)]));
      measure(point, last_of(point));
      bool many = lower_bounds(point.bounds, c_.moved, width_, most_of(point)) * kFew > a_.k;
      points[i] = many ? points[wide] : point;
      points[many ? wide++ : i] = point;
    }
    return wide;
  }

  int64_t last_of(const Point& point) const {
    int64_t id = a_.memory->ids[point.row];
    return id >= 0 && id < a_.k ? id : 0;
  }

  // The bound up to which a centroid may be as near as the best.
  int most_of(const Point& point) const {
    double steps = __builtin_sqrt(upper(point.best)) * kSafely / c_.step;
    return steps < kMostBound ? static_cast<int>(steps) : static_cast<int>(kMostBound);
  }

  void set_bound(Point& point, int64_t centroid, float distance2) const {
    point.bounds[centroid] = static_cast<uint8_t>(to_bounds(broadcast(distance2), per_step_)[0]);
  }

  void look_at_low(Point& point) {
    int64_t n = near_places(point.bounds, width_, most_of(point), near_);
    if (n > kSingle) {
      KmeansRounded rounded = round_point(point, 0);
      if (rounded.known) {
        measure_low(point, bound_again(point, rounded, n));
        return;
      }
    }
    for (int64_t i = 0; i < n; i++) {
      int64_t centroid = near_[i];
      if (centroid != point.id && point.bounds[centroid] <= most_of(point)) {
        set_bound(point, centroid, lower(measure(point, centroid)));
      }
    }
  }

  void measure_low(Point& point, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
      if (near_values_[i] <= point.most) {
        set_bound(point, near_[i], lower(measure(point, near_[i])));
      }
    }
  }

  // Bounds the n centroids near_ by their codes. Returns how many are still low, and leaves those.
  int64_t bound_again(Point& point, const KmeansRounded& rounded, int64_t n) {
    for (int64_t i = n; i < round_up(n, kRowsAtOnce); i++) {
      near_[i] = near_[n - 1];
    }
    for (int64_t first = 0; first < n; first += kRowsAtOnce) {
      const Code* rows[kRowsAtOnce];
      int32_t products[kRowsAtOnce];
      for (int i = 0; i < kRowsAtOnce; i++) {
        rows[i] = c_.rows + near_[first + i] * codes_width_;
      }
      multiply_rows(codes_, rows, codes_width_, products);
      for (int i = 0; i < kRowsAtOnce; i++) {
        int32_t j = near_[first + i];
        near_values_[first + i] = static_cast<float>(products[i]) * c_.scales[j] * rounded.scale + c_.add[j] -
                                  rounded.error * c_.lengths[j] - rounded.length * c_.errors[j];
      }
    }
    const vf base = broadcast(round_down(point.norm2 - slack(point)));
    int64_t left = 0;
    for (int64_t first = 0; first < n; first += W) {
      vi bounds = to_bounds(load(near_values_ + first) + base, per_step_);
      for (int64_t i = 0; i < at_most(W, n - first); i++) {
        int32_t j = near_[first + i];
        float value = near_values_[first + i];
        point.bounds[j] = static_cast<uint8_t>(bounds[i]);
        near_[left] = j;
        near_values_[left] = value;
        left += value <= point.most && j != point.id;
      }
    }
    return left;
  }

  void look_at_all(Point* points, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
      start(points[i], i, count);
    }
    for (int64_t column = 0; column < a_.k; column += columns_) {
      for (int64_t at = 0; at < count; at += kTogether * kTileRows) {
        scan(points + at, at_most(kTogether * kTileRows, count - at), at, column, at_most(columns_, a_.k - column));
      }
    }
  }

  // Leaves the point's codes in codes_, higher by `offset`.
  KmeansRounded round_point(Point& point, int offset) {
    int8_t* integers = a_.memory ? a_.memory->codes + point.row * codes_width_ : integers_;
    KmeansRounded own, &rounded = a_.memory ? a_.memory->rounded[point.row] : own;
    if (!a_.memory || a_.memory->calls == 0) {
      centre(point.x, c_.center, a_.d, centred_);
      rounded = round_to_codes(centred_, a_.d, kMostOfPoint, integers);
    }
    widen_codes(integers, codes_width_, offset, codes_);
    point.norm2 = rounded.norm2;
    point.known = rounded.known;
    set_most(point);
    return rounded;
  }

  // Point i of a task of `count`.
  void start(Point& point, int64_t i, int64_t count) {
    int64_t panel = i / kTileRows * kTileRows;
    KmeansRounded rounded = round_point(point, kOffset);
    place_point(codes_, a_.d, at_most(kTileRows, count - panel), i - panel, packed_ + panel * point_codes_);
    scales_[i] = rounded.scale;
    errors_[i] = rounded.error;
    lengths_[i] = rounded.length;
    for (int64_t j = 0; j < c_.num_special; j++) {
      measure(point, c_.special[j]);
    }
    if (point.bounds) {
      __builtin_memset(point.bounds, 0, a_.k);
      __builtin_memset(point.bounds + a_.k, 255, width_ - a_.k);  // no centroids: never near
    }
  }

  // What a squared distance may really be: one of d dimensions is off by less than d + 16 roundings.
  double upper(float distance) const { return distance * (1 + (a_.d + 16) * 4 * kRound) + a_.d * kTiny; }
  float lower(float distance) const { return round_down(distance * (1 - (a_.d + 16) * 4 * kRound) - a_.d * kTiny); }

  // Of a tile's value.
  double slack(const Point& point) const {
    double norm = __builtin_sqrt(point.norm2) + c_.longest;
    return 256 * kRound * norm * norm + 8 * kTiny + 8 / kLongestVector;
  }

  void set_most(Point& point) const { point.most = round_up(upper(point.best) - point.norm2 + slack(point)); }

  void prefetch(int64_t centroid) const {
    const char* row = reinterpret_cast<const char*>(a_.centroids + centroid * a_.d);
    for (int64_t at = 0; at < a_.d * 4; at += 64) {
      __builtin_prefetch(row + at);
    }
  }

  float measure(Point& point, int64_t centroid) {
    measured++;
    float distance = squared_distance(point.x, a_.centroids + centroid * a_.d, a_.d);
    if (distance < point.best) {
      point.best = distance;
      point.id = centroid;
      set_most(point);
    } else if (distance == point.best && centroid < point.id) {
      point.id = centroid;
    }
    return distance;
  }

  // Points from `at` on against centroids [first, first + count).
  void scan(Point* points, int64_t num_points, int64_t at, int64_t first, int64_t count) {
    const int64_t tiles = ceil_div(count, kTileCols);
    for (int64_t tile = 0; tile < tiles; tile++) {
      for (int64_t i = 0; i < num_points; i += kTileRows) {
        int64_t j = first + tile * kTileCols, p = at + i, rows = at_most(kTileRows, num_points - i);
        float *values = values_ + i * tiles * kTileCols, *lowest = lowest_ + i * tiles * W;
        multiply_codes_of<kTileRows>(rows)({packed_ + p * point_codes_, c_.panels + j * row_codes_, a_.d, scales_ + p,
                                            errors_ + p, lengths_ + p, c_.scales + j, c_.add + j, c_.errors + j,
                                            c_.lengths + j, values + tile * rows * kTileCols,
                                            lowest + tile * rows * W});
      }
    }
    for (int64_t i = 0; i < num_points; i++) {
      if (points[i].known) {
        int64_t panel = i / kTileRows * kTileRows, rows = at_most(kTileRows, num_points - panel);
        const float* values = values_ + panel * tiles * kTileCols + (i - panel) * kTileCols;
        const float* lowest = lowest_ + panel * tiles * W + (i - panel) * W;
        measure_lowest(points[i], values, lowest, rows, tiles, first);
        measure_lower(points[i], collect(points[i], values, lowest, rows, tiles, first));
        if (points[i].bounds) {
          keep_bounds(points[i], values, rows, tiles, first);
        }
      } else {
        for (int64_t j = 0; j < count; j++) {
          measure(points[i], first + j);
        }
      }
    }
  }

  void measure_lowest(Point& point, const float* values, const float* lowest, int64_t rows, int64_t tiles,
                      int64_t first) {
    vf least = broadcast(__builtin_inff());
    vi where{}, tile{};
    for (int64_t t = 0; t < tiles; t++, tile += 1) {
      vf value = load(lowest + t * rows * W);
      vi less = value < least;
      least = less ? value : least;
      where = less ? tile : where;
    }
    float nearest = __builtin_inff();
    int64_t found = -1;
    for (int i = 0; i < W; i++) {
      bool nearer = least[i] < nearest;
      nearest = nearer ? least[i] : nearest;
      found = nearer ? where[i] * kTileCols + i : found;
    }
    if (found < 0 || nearest > point.most) {
      return;
    }
    const float* of_tile = values + found / kTileCols * rows * kTileCols;
    for (int j = 1; j < kTileVectors; j++) {
      found += of_tile[found % kTileCols] == nearest ? 0 : W;
    }
    measure(point, first + found);
  }

  // Returns how many centroids may be as near as the best.
  int64_t collect(const Point& point, const float* values, const float* lowest, int64_t rows, int64_t tiles,
                  int64_t first) {
    const vf most = broadcast(point.most);
    int64_t n = 0;
    for (int64_t t = 0; t < tiles; t++) {
      if (bits(load(lowest + t * rows * W) <= most) == 0) {
        continue;
      }
      for (int j = 0; j < kTileVectors; j++) {
        const float* from = values + t * rows * kTileCols + j * W;
        for (uint32_t left = bits(load(from) <= most); left; left &= left - 1) {
          int at = __builtin_ctz(left);
          int64_t centroid = first + t * kTileCols + j * W + at;
          candidates_[n] = {from[at], centroid};
          n += centroid < a_.k && centroid != point.id;  // where every bound passes, so do columns behind the last
        }
      }
    }
    return n;
  }

  void keep_bounds(const Point& point, const float* values, int64_t rows, int64_t tiles, int64_t first) const {
    const vf base = broadcast(round_down(point.norm2 - slack(point)));
    for (int64_t t = 0; t < tiles; t++) {
      for (int64_t j = 0; j < kTileCols; j += W) {
        vf distances2 = load(values + t * rows * kTileCols + j) + base;
        store_bytes(point.bounds + first + t * kTileCols + j, to_bounds(distances2, per_step_));
      }
    }
  }

  void measure_lower(Point& point, int64_t n) {
    for (int64_t i = 0; i < at_most(kAhead, n); i++) {
      prefetch(candidates_[i].centroid);
    }
    for (int64_t i = 0; i < n; i++) {
      if (i + kAhead < n) {
        prefetch(candidates_[i + kAhead].centroid);
      }
      if (candidates_[i].value <= point.most) {
        measure(point, candidates_[i].centroid);
      }
    }
  }

  const KmeansAssignArgs& a_;
  const Centroids& c_;
  int64_t point_codes_, row_codes_, codes_width_, width_;
  float per_step_;  // of the bounds
  int64_t columns_;
  Code *packed_, *codes_;
  int8_t* integers_;
  float *scales_, *errors_, *lengths_, *centred_, *values_, *lowest_;
  Candidate* candidates_;
  int32_t* near_;
  float* near_values_;
};

}  // namespace

void kmeans_assign(const KmeansAssignArgs& a) {
  const int64_t tasks = ceil_div(a.n, kPoints);
  Arena arena(Scratch::packed_b, centroids_bytes(a.k, a.d) + Arena::padded<int64_t>(tasks));
  const Centroids centroids = prepare_centroids(a, arena);
  auto* counts = arena.take<int64_t>(tasks);
  parallel_for(tasks, [&](int64_t task) {
    Assignment assignment(a, centroids);
    assignment.run(task * kPoints);
    counts[task] = assignment.measured;
  });
  if (a.measured) {
    *a.measured = 0;
    for (int64_t i = 0; i < tasks; i++) {
      *a.measured += counts[i];
    }
  }
  if (a.memory) {
    remember(a, centroids);
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
