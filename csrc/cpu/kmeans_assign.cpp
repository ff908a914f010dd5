// The nearest centroid of each point. Distances of all pairs are bounded from below by products of both rounded to
// 8-bit integers; the centroid with the lowest bound is measured, and then those whose bound is below that distance.
#include "cpu/kmeans.h"
#include "cpu/kmeans_codes.h"
#include "cpu/kmeans_rows.h"
#include "cpu/knn_prepare.h"
#include "cpu/parallel.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

constexpr int64_t kTogether = 4;  // panels of points that meet a panel of centroids while it is in L1
constexpr int64_t kPoints = 4 * kTogether * kTileRows;  // of a task
constexpr int64_t kColumnCodes = 5 << 16;               // of centroids at a time: of an L2 of 512 KB
constexpr int64_t kAhead = 2;                           // rows that are fetched before they are measured

struct Centroids {
  const float* center;            // d
  const Code* panels;             // [panel][row_steps][kTileCols][kGroup]
  const float *scales, *add;      // what a CodeTile takes of rows: times -2; the squared norm, +inf where there is none
  const float *errors, *lengths;  // times 2
  const int64_t* special;         // centroids that are measured for every point
  int64_t num_special;
  double longest;
};

struct Candidate {
  float value;
  int64_t centroid;
};

// A point, its best centroid so far, and what the bound of one that is as near may be at most: a squared distance less
// the point's own squared norm.
struct Point {
  const float* x;
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
        columns_(at_most(at_least(kColumnCodes / row_codes_ / kTileCols, 1) * kTileCols, round_up(args.k, kTileCols))) {
  }

  void run(int64_t first) {
    int64_t count = at_most(kPoints, a_.n - first);
    Arena arena(Scratch::tile, Arena::padded<Code>(kPoints * point_codes_) + Arena::padded<Code>(point_codes_) +
                                   3 * Arena::padded<float>(kPoints) + Arena::padded<float>(round_up(a_.d, W)) +
                                   Arena::padded<float>(kTogether * kTileRows * columns_) +
                                   Arena::padded<float>(kTogether * kTileRows * columns_ / kTileVectors) +
                                   Arena::padded<Candidate>(columns_) + Arena::padded<Point>(kPoints));
    packed_ = arena.take<Code>(kPoints * point_codes_);
    codes_ = arena.take<Code>(point_codes_);
    scales_ = arena.take<float>(kPoints);
    errors_ = arena.take<float>(kPoints);
    lengths_ = arena.take<float>(kPoints);
    centred_ = arena.take<float>(round_up(a_.d, W));
    values_ = arena.take<float>(kTogether * kTileRows * columns_);
    lowest_ = arena.take<float>(kTogether * kTileRows * columns_ / kTileVectors);
    candidates_ = arena.take<Candidate>(columns_);
    auto* points = arena.take<Point>(kPoints);
    for (int64_t i = 0; i < count; i++) {
      start(points[i], first + i, i, count);
    }
    for (int64_t column = 0; column < a_.k; column += columns_) {
      for (int64_t at = 0; at < count; at += kTogether * kTileRows) {
        scan(points + at, at_most(kTogether * kTileRows, count - at), at, column, at_most(columns_, a_.k - column));
      }
    }
    for (int64_t i = 0; i < count; i++) {
      a_.ids[first + i] = points[i].id;
      if (a_.distances) {
        a_.distances[first + i] = points[i].id < 0 ? kFloatMax : points[i].best;
      }
    }
  }

  int64_t measured = 0;  // distances of vectors

 private:
  // Point i of a task of `count`.
  void start(Point& point, int64_t row, int64_t i, int64_t count) {
    const float* x = a_.x + row * a_.d;
    int64_t panel = i / kTileRows * kTileRows;
    centre(x, c_.center, a_.d, centred_);
    Rounded rounded = round_to_codes(centred_, a_.d, kMostOfPoint, kOffset, codes_);
    place_point(codes_, a_.d, at_most(kTileRows, count - panel), i - panel, packed_ + panel * point_codes_);
    scales_[i] = rounded.scale;
    errors_[i] = rounded.error;
    lengths_[i] = rounded.length;
    point = {x, rounded.norm2, rounded.known, -1, __builtin_inff(), __builtin_inff()};
    for (int64_t j = 0; j < c_.num_special; j++) {
      measure(point, c_.special[j]);
    }
  }

  // A distance of d dimensions is off by less than d + 16 roundings, a bound by those of what it is made of.
  void set_most(Point& point) const {
    double distance = point.best * (1 + (a_.d + 16) * 4 * kRound) + a_.d * kTiny;
    double value = distance - point.norm2, norm = __builtin_sqrt(point.norm2) + c_.longest;
    point.most = round_up(value + 256 * kRound * norm * norm + 8 * kTiny + 8 / kLongestVector);
  }

  void prefetch(int64_t centroid) const {
    const char* row = reinterpret_cast<const char*>(a_.centroids + centroid * a_.d);
    for (int64_t at = 0; at < a_.d * 4; at += 64) {
      __builtin_prefetch(row + at);
    }
  }

  void measure(Point& point, int64_t centroid) {
    measured++;
    float distance = squared_distance(point.x, a_.centroids + centroid * a_.d, a_.d);
    if (distance < point.best) {
      point.best = distance;
      point.id = centroid;
      set_most(point);
    } else if (distance == point.best && centroid < point.id) {
      point.id = centroid;
    }
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
  int64_t point_codes_, row_codes_, columns_;
  Code *packed_, *codes_;
  float *scales_, *errors_, *lengths_, *centred_, *values_, *lowest_;
  Candidate* candidates_;
};

}  // namespace

void kmeans_assign(const KmeansAssignArgs& a) {
  int64_t columns = round_up(a.k, kTileCols), tasks = ceil_div(a.n, kPoints), codes = row_steps(a.d) * kGroup;
  Arena arena(Scratch::packed_b, Arena::padded<Code>(columns * codes) + Arena::padded<Code>(codes) +
                                     4 * Arena::padded<float>(columns) + 2 * Arena::padded<float>(round_up(a.d, W)) +
                                     Arena::padded<int64_t>(a.k) + Arena::padded<int64_t>(tasks));
  auto* panels = arena.take<Code>(columns * codes);
  auto* row = arena.take<Code>(codes);
  auto* scales = arena.take<float>(columns);
  auto* add = arena.take<float>(columns);
  auto* errors = arena.take<float>(columns);
  auto* lengths = arena.take<float>(columns);
  auto* center = arena.take<float>(round_up(a.d, W));
  auto* centred = arena.take<float>(round_up(a.d, W));
  auto* special = arena.take<int64_t>(a.k);
  auto* counts = arena.take<int64_t>(tasks);
  find_center({a.centroids, Float::f32, a.k, a.d, a.d, 1}, center);
  Centroids c{center, panels, scales, add, errors, lengths, special, 0, 0};
  for (int64_t j = 0; j < columns; j++) {
    bool exists = j < a.k;
    Rounded rounded{};
    if (exists) {
      centre(a.centroids + j * a.d, center, a.d, centred);
      rounded = round_to_codes(centred, a.d, kMostOfRow, 0, row);
    } else {
      __builtin_memset(row, 0, codes * sizeof(Code));
    }
    place_row(row, a.d, j % kTileCols, panels + j / kTileCols * kTileCols * codes);
    scales[j] = -2 * rounded.scale;
    add[j] = rounded.known ? static_cast<float>(rounded.norm2) : __builtin_inff();
    errors[j] = rounded.known ? 2 * rounded.error : 0;
    lengths[j] = rounded.known ? 2 * (rounded.length + rounded.error) : 0;
    if (rounded.known) {
      c.longest = rounded.length > c.longest ? static_cast<double>(rounded.length) : c.longest;
    } else if (exists) {
      special[c.num_special++] = j;
    }
  }
  parallel_for(tasks, [&](int64_t task) {
    Assignment assignment(a, c);
    assignment.run(task * kPoints);
    counts[task] = assignment.measured;
  });
  if (a.measured) {
    *a.measured = 0;
    for (int64_t i = 0; i < tasks; i++) {
      *a.measured += counts[i];
    }
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
