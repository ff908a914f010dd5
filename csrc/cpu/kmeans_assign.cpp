// An assignment is a search of radius: each point's guess is measured, and whatever centroid could be nearer is
// measured, too. Which could be is told by the distances of sketches: for all pairs those of their first integers and
// the length of the others, in tiles of a product of integers, then, of the few that are left, those of all integers.
#include "cpu/kmeans.h"
#include "cpu/kmeans_rows.h"
#include "cpu/kmeans_tile.h"
#include "cpu/knn_prepare.h"
#include "cpu/parallel.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

constexpr int64_t kPanels = 16;  // of points, of a task
constexpr int64_t kPoints = kPanels * kTileRows;
constexpr int64_t kColumnIntegers = 1 << 17;  // of centroids at a time: half of an L2 of 512 KB
constexpr int64_t kAhead = 2;                 // rows that are fetched before they are measured

// What is looked at for all pairs: the first `lead` integers of a sketch, and the length of the others as one more.
struct Lead {
  int64_t lead, steps;
  bool whole;  // nothing is left out

  Lead(int64_t first, int64_t width)
      : lead(at_most(first, width)), steps(ceil_div(lead + (lead < width), kPair)), whole(lead == width) {}

  // Writes them as row `at` of a panel of `rows`, and returns their squared norm.
  double pack(const int16_t* codes, int64_t width, int64_t rows, int64_t at, int16_t* panel) const {
    auto put = [&](int64_t p, int16_t code) { panel[((p / kPair) * rows + at) * kPair + p % kPair] = code; };
    for (int64_t p = 0; p < lead; p++) {
      put(p, codes[p]);
    }
    int64_t norm2 = squared_norm(codes, lead), length = 0;
    if (!whole) {
      length = static_cast<int64_t>(__builtin_sqrt(squared_norm(codes + lead, width - lead)) + 0.5);
      put(lead, static_cast<int16_t>(length));
    }
    for (int64_t p = lead + !whole; p < steps * kPair; p++) {
      put(p, 0);
    }
    return static_cast<double>(norm2 + length * length);
  }
};

struct Centroids {
  const int16_t* panels;            // [panel][step][kTileCols][kPair]
  const float* scales;              // times -2
  const float *lead_norms, *norms;  // squared, of what is looked at and of the sketches; +inf where there is none
  const int64_t* special;           // centroids that are measured for every point
  int64_t num_special;
  double norm, scale, error;  // the largest of all
};

struct Candidate {
  float value;
  int64_t centroid;
};

// A point, its best centroid so far, and what the value of one that is as near may be at most: the squared distance of
// the sketches less the point's own squared norm.
struct Point {
  const float* x;
  const int16_t* codes;
  float scale, error;
  double lead_norm2, norm2;
  int64_t id;
  float best, lead_most, most;
};

class Assignment {
 public:
  Assignment(const KmeansAssignArgs& args, const Lead& lead, const Centroids& centroids)
      : a_(args),
        l_(lead),
        c_(centroids),
        depth_(lead.steps * kPair),
        columns_(at_most(at_least(kColumnIntegers / depth_ / kTileCols, 1) * kTileCols, round_up(args.k, kTileCols))) {}

  void run(int64_t first) {
    int64_t count = at_most(kPoints, a_.n - first);
    Arena arena(Scratch::tile, Arena::padded<int16_t>(kPoints * depth_) + Arena::padded<float>(kPoints) +
                                   Arena::padded<float>(kTileRows * columns_) + Arena::padded<Candidate>(columns_) +
                                   Arena::padded<Point>(kPoints));
    packed_ = arena.take<int16_t>(kPoints * depth_);
    scales_ = arena.take<float>(kPoints);
    tiles_ = arena.take<float>(kTileRows * columns_);
    candidates_ = arena.take<Candidate>(columns_);
    auto* points = arena.take<Point>(kPoints);
    for (int64_t i = 0; i < count; i++) {
      start(points[i], first + i, i, count);
    }
    for (int64_t column = 0; column < a_.k; column += columns_) {
      for (int64_t panel = 0; panel < count; panel += kTileRows) {
        scan(points + panel, at_most(kTileRows, count - panel), panel, column, at_most(columns_, a_.k - column));
      }
    }
    for (int64_t i = 0; i < count; i++) {
      a_.distances[first + i] = points[i].id < 0 ? kFloatMax : points[i].best;
      a_.ids[first + i] = points[i].id;
    }
  }

  int64_t compared = 0, measured = 0;  // pairs of whole sketches, and of vectors

 private:
  // Point i of a task of `count`.
  void start(Point& point, int64_t row, int64_t i, int64_t count) {
    const float* scales = a_.x_sketch.scales + 2 * row;
    const int16_t* codes = a_.x_sketch.codes + row * a_.width;
    int64_t panel = i / kTileRows * kTileRows;
    double square = static_cast<double>(scales[0]) * scales[0];
    double lead_norm2 =
        l_.pack(codes, a_.width, at_most(kTileRows, count - panel), i - panel, packed_ + panel * depth_) * square;
    double norm2 = static_cast<double>(squared_norm(codes, a_.width)) * square;
    scales_[i] = scales[0];
    point = {a_.x + row * a_.d, codes,           scales[0], scales[1], lead_norm2, norm2, -1, __builtin_inff(),
             __builtin_inff(),  __builtin_inff()};
    if (a_.guess) {
      if (row + kAhead < a_.n) {
        prefetch(guess_of(row + kAhead));
      }
      measure(point, guess_of(row));
    }
    for (int64_t j = 0; j < c_.num_special; j++) {
      measure(point, c_.special[j]);
    }
  }

  int64_t guess_of(int64_t row) const { return a_.guess[row] >= 0 && a_.guess[row] < a_.k ? a_.guess[row] : 0; }

  // A distance of d dimensions is off by less than d + 16 roundings, a value by three of what it is made of, a length
  // of integers by half.
  void set_most(Point& point) const {
    double radius = __builtin_sqrt(point.best * (1 + (a_.d + 16) * 4 * kRound) + a_.d * kTiny);
    double norm = __builtin_sqrt(point.norm2) + c_.norm;
    radius += static_cast<double>(point.error) + c_.error;
    point.most = most_of(radius, point.norm2, norm);
    double half = l_.whole ? 0 : 0.51 * (point.scale + c_.scale);
    point.lead_most = most_of(radius + half, point.lead_norm2, norm + half);
  }

  static float most_of(double radius, double norm2, double norm) {
    double value = radius * radius - norm2, error = 8 * kRound * norm * norm + 8 * kTiny;
    return static_cast<float>(value + error + __builtin_fabs(value) * 2 * kRound);
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

  // Panel `panel` of points against centroids [first, first + count).
  void scan(Point* points, int64_t rows, int64_t panel, int64_t first, int64_t count) {
    MultiplyShortTile multiply = multiply_short_tile_of<kTileRows>(rows);
    for (int64_t at = 0; at < count; at += kTileCols) {
      multiply({packed_ + panel * depth_, c_.panels + (first + at) * depth_, l_.steps, scales_ + panel,
                c_.scales + first + at, c_.lead_norms + first + at, tiles_ + at * rows});
    }
    for (int64_t i = 0; i < rows; i++) {
      const float* values = tiles_ + i * kTileCols;
      if (points[i].error <= kFloatMax) {
        if (points[i].id < 0) {
          guess(points[i], values, rows * kTileCols, first, count);
        }
        int64_t left = compare(points[i], collect(points[i], values, rows * kTileCols, first, count));
        measure_nearest_first(points[i], left);
      } else {
        for (int64_t j = 0; j < count; j++) {
          measure(points[i], first + j);
        }
      }
    }
  }

  // Measures the centroid with the lowest value.
  void guess(Point& point, const float* values, int64_t stride, int64_t first, int64_t count) {
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
    int64_t found = -1;
    for (int i = 0; i < kTileCols; i++) {
      bool nearer = least[i / W][i % W] < nearest;
      nearest = nearer ? least[i / W][i % W] : nearest;
      found = nearer ? first + where[i / W][i % W] + i : found;
    }
    if (found >= 0) {
      measure(point, found);
    }
  }

  // Returns how many candidates there are by what was looked at for all pairs.
  int64_t collect(const Point& point, const float* values, int64_t stride, int64_t first, int64_t count) {
    constexpr int64_t kColumnsPerWord = 64;  // few branches: they would be hard to predict
    const vf most = broadcast(point.lead_most);
    int64_t n = 0;
    for (int64_t column = 0; column < count; column += kColumnsPerWord) {
      uint64_t left = 0;
      const float* from = values + column / kTileCols * stride;
      for (int64_t at = 0; at < at_most(kColumnsPerWord, count - column); at += W) {
        uint64_t passed = bits(load(from + at / kTileCols * stride + at % kTileCols) <= most);
        left |= passed << at;
      }
      for (; left; left &= left - 1) {
        int64_t at = __builtin_ctzll(left), centroid = first + column + at;
        candidates_[n] = {from[at / kTileCols * stride + at % kTileCols], centroid};
        n += centroid < a_.k;  // where every distance passes, so do the columns behind the last centroid
      }
    }
    return n;
  }

  // Returns how many of n candidates are left by their whole sketches.
  int64_t compare(const Point& point, int64_t n) {
    if (l_.whole) {
      return n;
    }
    compared += n;
    int64_t left = 0;
    for (int64_t first = 0; first < n; first += kRowsAtOnce) {
      const int16_t* rows[kRowsAtOnce];
      int32_t products[kRowsAtOnce];
      for (int i = 0; i < kRowsAtOnce; i++) {
        rows[i] = a_.centroid_sketch.codes + candidates_[at_most(first + i, n - 1)].centroid * a_.width;
      }
      multiply_short_rows(point.codes, rows, a_.width, products);
      for (int64_t i = 0; i < at_most(kRowsAtOnce, n - first); i++) {
        int64_t centroid = candidates_[first + i].centroid;
        float value = static_cast<float>(products[i]) * c_.scales[centroid] * point.scale + c_.norms[centroid];
        candidates_[left] = {value, centroid};
        left += value <= point.most;
      }
    }
    return left;
  }

  // The nearest by sketches is measured first: it leaves the fewest others.
  void measure_nearest_first(Point& point, int64_t n) {
    if (n == 0) {
      return;
    }
    int64_t nearest = 0;
    for (int64_t i = 1; i < n; i++) {
      nearest = candidates_[i].value < candidates_[nearest].value ? i : nearest;
    }
    Candidate first = candidates_[nearest];
    candidates_[nearest] = candidates_[0];
    candidates_[0] = first;
    for (int64_t i = 0; i < n; i++) {
      if (i + kAhead < n) {
        prefetch(candidates_[i + kAhead].centroid);
      }
      const Candidate& candidate = candidates_[i];
      if (candidate.value <= (l_.whole ? point.lead_most : point.most) && candidate.centroid != point.id) {
        measure(point, candidate.centroid);
      }
    }
  }

  const KmeansAssignArgs& a_;
  const Lead& l_;
  const Centroids& c_;
  int64_t depth_, columns_;
  int16_t* packed_;
  float *scales_, *tiles_;
  Candidate* candidates_;
};

}  // namespace

void kmeans_assign(const KmeansAssignArgs& a) {
  const Lead lead(a.lead, a.width);
  int64_t columns = round_up(a.k, kTileCols), tasks = ceil_div(a.n, kPoints), depth = lead.steps * kPair;
  Arena arena(Scratch::packed_b, Arena::padded<int16_t>(columns * depth) + 3 * Arena::padded<float>(columns) +
                                     Arena::padded<int64_t>(a.k) + Arena::padded<int64_t>(2 * tasks));
  auto* panels = arena.take<int16_t>(columns * depth);
  auto* scales = arena.take<float>(columns);
  auto* lead_norms = arena.take<float>(columns);
  auto* norms = arena.take<float>(columns);
  auto* special = arena.take<int64_t>(a.k);
  auto* counts = arena.take<int64_t>(2 * tasks);
  Centroids c{panels, scales, lead_norms, norms, special, 0, 0, 0, 0};
  for (int64_t j = 0; j < columns; j++) {
    int64_t row = at_most(j, a.k - 1), at = j % kTileCols;
    const float* own = a.centroid_sketch.scales + 2 * row;
    const int16_t* codes = a.centroid_sketch.codes + row * a.width;
    bool exists = j < a.k, known = exists && own[1] <= kFloatMax;
    double square = static_cast<double>(own[0]) * own[0];
    double lead_norm2 = lead.pack(codes, a.width, kTileCols, at, panels + (j - at) * depth) * square;
    double norm2 = static_cast<double>(squared_norm(codes, a.width)) * square;
    scales[j] = known ? -2 * own[0] : 0;
    lead_norms[j] = known ? static_cast<float>(lead_norm2) : __builtin_inff();
    norms[j] = known ? static_cast<float>(norm2) : __builtin_inff();
    if (known) {
      double norm = __builtin_sqrt(norm2);
      c.norm = norm > c.norm ? norm : c.norm;
      c.scale = own[0] > c.scale ? own[0] : c.scale;
      c.error = own[1] > c.error ? own[1] : c.error;
    } else if (exists) {
      special[c.num_special++] = row;
    }
  }
  parallel_for(tasks, [&](int64_t task) {
    Assignment assignment(a, lead, c);
    assignment.run(task * kPoints);
    counts[2 * task] = assignment.compared;
    counts[2 * task + 1] = assignment.measured;
  });
  if (a.counts) {
    a.counts[0] = a.counts[1] = 0;
    for (int64_t i = 0; i < 2 * tasks; i++) {
      a.counts[i % 2] += counts[i];
    }
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
