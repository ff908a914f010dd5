#include "cpu/hamming.h"

#include "cpu/hamming_direct.h"
#include "cpu/hamming_nearest.h"
#include "cpu/hamming_planes.h"
#include "cpu/integers.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

constexpr int64_t kPlaneQueries = 8;        // from so many queries a transposed block is cheaper
constexpr int64_t kBlock = 512;             // codes that a query is compared with at once
constexpr int64_t kScratch = 4 << 20;       // bytes of queries searched at once
constexpr int64_t kTileQueries = 256;       // as many, for the second-level cache's sake
constexpr int64_t kSegmentBytes = 1 << 17;  // a thread's part of the codes is at least this
constexpr int64_t kMissing = 0x7fffffff;

// Shows the distances of queries [q0, q1) to rows [begin, end), block by block:
// see(query, first row of the block, rows, distances).
template <typename See>
void scan_planes(const HammingArgs& g, int64_t q0, int64_t q1, int64_t begin, int64_t end, const See& see) {
  auto* planes = static_cast<uint8_t*>(thread_scratch(Scratch::packed_a, plane_bytes(g.code_size)));
  alignas(64) uint16_t distances[kPlaneBlock];
  for (; begin < end; begin += kPlaneBlock) {
    int64_t n = at_most(end - begin, kPlaneBlock);
    fill_planes(g, begin, n, planes);
    for (int64_t q = q0; q < q1; q++) {
      plane_distances(planes, g.queries + q * g.code_size, g.code_size, distances);
      see(q, begin, n, distances);
    }
  }
}

template <typename D, typename See>
void scan_direct(const HammingArgs& g, int64_t q0, int64_t q1, int64_t begin, int64_t end, const See& see) {
  D distances[kBlock];
  for (; begin < end; begin += kBlock) {
    int64_t n = at_most(end - begin, kBlock);
    for (int64_t q = q0; q < q1; q++) {
      direct_distances(g, g.queries + q * g.code_size, begin, n, distances);
      see(q, begin, n, distances);
    }
  }
}

template <typename See>
void scan(const HammingArgs& g, int64_t q0, int64_t q1, int64_t begin, int64_t end, const See& see) {
  if (g.code_size > kPlaneCodeSize) {
    return scan_direct<uint32_t>(g, q0, q1, begin, end, see);
  }
  if constexpr (kHasPlanes) {
    if (q1 - q0 >= kPlaneQueries) {
      return scan_planes(g, q0, q1, begin, end, see);
    }
  }
  scan_direct<uint16_t>(g, q0, q1, begin, end, see);
}

void write(const KnnHammingArgs& g, int64_t q, const uint32_t* distances, const uint32_t* rows, int64_t count) {
  int32_t* to_distances = g.distances + q * g.k;
  int64_t* to_ids = g.ids + q * g.k;
  for (int64_t i = 0; i < count; i++) {
    to_distances[i] = static_cast<int32_t>(distances[i]);
    to_ids[i] = g.rows ? g.rows[rows[i]] : rows[i];
  }
  for (int64_t i = count; i < g.k; i++) {
    to_distances[i] = kMissing;
    to_ids[i] = -1;
  }
}

// What a part of the codes gives a query: `count`, then k distances, then k rows.
struct Found {
  uint32_t *count, *distances, *rows;

  static int64_t words(int64_t k) { return 1 + 2 * k; }
  static Found at(uint32_t* memory, int64_t k) { return {memory, memory + 1, memory + 1 + k}; }
};

class Search {
 public:
  explicit Search(const KnnHammingArgs& g)
      : g_(g), bits_(8 * g.code_size), keep_(at_most(g.k, g.n)), state_(round_up(bytes_of_query(), 64)) {}

  void run() {
    int64_t per_tile = at_least(at_most(kScratch / state_, kTileQueries), 1);
    int64_t tiles = ceil_div(g_.nq, per_tile), segments = num_threads() > 1 && tiles < 4 * num_threads() ? parts() : 1;
    if (segments <= 1) {
      parallel_for(tiles, [&](int64_t t) {
        search(t * per_tile, at_most((t + 1) * per_tile, g_.nq), 0, g_.n, [&](int64_t q, Nearest& nearest) {
          uint32_t* memory = found_memory(1);
          Found f = Found::at(memory, keep_);
          write(g_, q, f.distances, f.rows, nearest.sorted(f.distances, f.rows));
        });
      });
      return;
    }
    for (int64_t q = 0; q < g_.nq; q += per_tile) {
      search_split(q, at_most(q + per_tile, g_.nq), segments);
    }
  }

 private:
  int64_t bytes_of_query() const { return static_cast<int64_t>(sizeof(Nearest)) + Nearest::bytes(keep_, g_.n, bits_); }
  int64_t parts() const { return at_most(4 * num_threads(), g_.n / at_least(kSegmentBytes / g_.code_size, 4 * keep_)); }
  uint32_t* found_memory(int64_t n) const {
    return static_cast<uint32_t*>(
        thread_scratch(Scratch::partial, static_cast<size_t>(sizeof(uint32_t) * Found::words(keep_) * n)));
  }

  Nearest* start(char* memory, int64_t i, int64_t n) const {
    char* at = memory + i * state_;
    auto* nearest = reinterpret_cast<Nearest*>(at);
    *nearest = Nearest(at + sizeof(Nearest), keep_, n, bits_);
    return nearest;
  }

  // The nearest of rows [begin, end) for queries [q0, q1): done(query, nearest).
  template <typename Done>
  void search(int64_t q0, int64_t q1, int64_t begin, int64_t end, const Done& done) const {
    auto* memory = static_cast<char*>(thread_scratch(Scratch::candidates, static_cast<size_t>(state_ * (q1 - q0))));
    for (int64_t q = q0; q < q1; q++) {
      start(memory, q - q0, g_.n);
    }
    scan(g_, q0, q1, begin, end, [&](int64_t q, int64_t first, int64_t n, const auto* distances) {
      auto& nearest = *reinterpret_cast<Nearest*>(memory + (q - q0) * state_);
      each_below(
          distances, n, [&] { return nearest.limit(); },
          [&](int64_t i) { nearest.push(distances[i], static_cast<uint32_t>(first + i)); });
    });
    for (int64_t q = q0; q < q1; q++) {
      done(q, *reinterpret_cast<Nearest*>(memory + (q - q0) * state_));
    }
  }

  // Each thread a part of the codes; the parts' nearest follow each other, so that equal distances stay in order.
  void search_split(int64_t q0, int64_t q1, int64_t segments) const {
    int64_t length = ceil_div(g_.n, segments), words = Found::words(keep_), queries = q1 - q0;
    uint32_t* memory = found_memory(queries * segments);
    parallel_for(segments, [&](int64_t s) {
      int64_t begin = at_most(s * length, g_.n), end = at_most(begin + length, g_.n);
      search(q0, q1, begin, end, [&](int64_t q, Nearest& nearest) {
        Found f = Found::at(memory + ((q - q0) * segments + s) * words, keep_);
        *f.count = static_cast<uint32_t>(nearest.sorted(f.distances, f.rows));
      });
    });
    for (int64_t q = q0; q < q1; q++) {
      merge(q, memory + (q - q0) * segments * words, segments);
    }
  }

  void merge(int64_t q, uint32_t* memory, int64_t segments) const {
    Nearest& nearest = *start(static_cast<char*>(thread_scratch(Scratch::candidates, state_)), 0, g_.n);
    for (int64_t s = 0; s < segments; s++) {
      Found f = Found::at(memory + s * Found::words(keep_), keep_);
      for (uint32_t i = 0; i < *f.count && f.distances[i] < nearest.limit(); i++) {
        nearest.push(f.distances[i], f.rows[i]);
      }
    }
    Found first = Found::at(memory, keep_);  // all have been read
    write(g_, q, first.distances, first.rows, nearest.sorted(first.distances, first.rows));
  }

  const KnnHammingArgs& g_;
  int64_t bits_, keep_, state_;
};

}  // namespace

void knn_hamming(const KnnHammingArgs& g) {
  if (g.n == 0) {
    for (int64_t q = 0; q < g.nq; q++) {
      write(g, q, nullptr, nullptr, 0);
    }
    return;
  }
  Search(g).run();
}

void range_hamming(const RangeHammingArgs& g) {
  constexpr int64_t most = 256;
  HammingHit hits[most];
  int64_t count = 0;
  const auto limit = static_cast<uint32_t>(at_least(at_most(g.radius, 8 * g.code_size + 1), 0));
  scan(g, 0, g.nq, 0, g.n, [&](int64_t q, int64_t first, int64_t n, const auto* distances) {
    each_below(
        distances, n, [&] { return limit; },
        [&](int64_t i) {
          if (count == most) {
            g.found(g.context, hits, count);
            count = 0;
          }
          int64_t row = g.rows ? g.rows[first + i] : first + i;
          hits[count++] = {row, static_cast<int32_t>(q), static_cast<int32_t>(distances[i])};
        });
  });
  g.found(g.context, hits, count);
}

void hammings(const HammingMatrixArgs& g) {
  scan(g, 0, g.nq, 0, g.n, [&](int64_t q, int64_t first, int64_t n, const auto* distances) {
    int32_t* to = g.distances + q * g.n + first;
    for (int64_t i = 0; i < n; i++) {
      to[i] = static_cast<int32_t>(distances[i]);
    }
  });
}

namespace {

template <int Words>
void distances_of_runs(const HammingRunsArgs& g) {
  constexpr int64_t ahead = 8;  // runs whose first codes are on their way
  int32_t* to = g.distances;
  for (int64_t r = 0; r < g.num_runs; r++) {
    if (r + ahead < g.num_runs) {
      __builtin_prefetch(g.runs[r + ahead].codes);
    }
    const HammingRun& run = g.runs[r];
    direct_distances_of<Words>({g.query, 1, run.codes, nullptr, run.n, g.code_size}, g.query, 0, run.n, to);
    to += run.n;
  }
}

}  // namespace

void hamming_runs(const HammingRunsArgs& g) {
  switch (g.code_size) {
    case 8:
      return distances_of_runs<1>(g);
    case 16:
      return distances_of_runs<2>(g);
    case 32:
      return distances_of_runs<4>(g);
    case 64:
      return distances_of_runs<8>(g);
    default:
      return distances_of_runs<0>(g);
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
