// A scan of a chunk of queries:
//   1. queries are grouped by the lists that they probe, and lists cut into blocks of rows, handed out to workers;
//   2. a fast float32 pass over a block, once for all queries of its list (ivf_tile.h), keeps candidates
//      (ivf_candidates.h);
//   3. their distances in float64, and the k best by (distance, id).
#include "cpu/ivf_scan.h"

#include "cpu/ivf_candidates.h"
#include "cpu/ivf_fused.h"
#include "cpu/ivf_tile.h"
#include "cpu/knn_prepare.h"
#include "cpu/one_row.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

constexpr int64_t kTaskBytes = 256 << 10;      // of rows as float32, handed out at a time
constexpr int64_t kCandidateBytes = 64 << 20;  // of a chunk, all workers together
constexpr int64_t kProbesPerChunk = 1 << 20;   // of a chunk
constexpr double kLargestProduct = 0x1p124;    // of |q| |b|: smaller ones cannot overflow in float32

struct Probe {  // a query that looks at the first `limit` entries of a list
  int64_t query, limit;
};

struct Task {  // `count` rows of a list from `first`
  int64_t list, first, count;
};

// What workers share; read-only, but for next_task.
struct Chunk {
  Scan scan;
  const Probe* probes;  // those of list i are [begin[i], begin[i + 1])
  const int64_t* begin;
  const Task* tasks;
  const double* norms;  // of the queries, where they are needed
  int64_t num_tasks;
  int64_t next_task;          // atomic
  const IvfRangeArgs* range;  // null for the k best
};

// The rows of a block that take part.
struct Rows {
  const float* at[kScanRows];  // unless codes are scored as they are
  const uint8_t* code[kScanRows];
  int64_t offset[kScanRows];
  int64_t count;
};

class Worker {
 public:
  Worker(Chunk& chunk, int64_t number, char* candidates)
      : chunk_(chunk), args_(*chunk.scan.args), number_(number), d_(args_.codec.d), error_(direct_error(d_)) {
    if (!chunk.range) {
      candidates_.attach(&chunk.scan, candidates);
    }
  }

  const EntryCandidates& candidates() const { return candidates_; }
  int64_t distances() const { return distances_; }

  void work() {
    Arena arena(Scratch::tile, Arena::padded<float>(kScanRows * d_) + Arena::padded<float>(kScanRows * kScanQueries) +
                                   Arena::padded<float>(d_) + 64);
    decoded_ = arena.take<float>(kScanRows * d_);
    values_ = arena.take<float>(kScanRows * kScanQueries);
    scratch_ = arena.take<float>(d_);
    for (int64_t i; (i = __atomic_fetch_add(&chunk_.next_task, 1, __ATOMIC_RELAXED)) < chunk_.num_tasks;) {
      const Task& task = chunk_.tasks[i];
      for (int64_t first = task.first; first < task.first + task.count; first += kScanRows) {
        scan_rows(task.list, first, at_most(kScanRows, task.first + task.count - first));
      }
    }
  }

 private:
  void gather(int64_t list, int64_t first, int64_t count, bool decode) {
    uint8_t takes_part[kScanRows];
    if (args_.members) {
      args_.members(args_.selector, args_.lists[list].ids + first, count, takes_part);
    }
    rows_.count = 0;
    for (int64_t i = 0; i < count; i++) {
      if (!args_.members || takes_part[i]) {
        int64_t n = rows_.count++;
        rows_.offset[n] = first + i;
        rows_.code[n] = args_.lists[list].codes + (first + i) * args_.codec.code_size();
        rows_.at[n] = decode ? entry_row(args_, list, first + i, decoded_ + n * d_) : nullptr;
      }
    }
    for (int64_t i = rows_.count; i < kScanRows && rows_.count; i++) {
      rows_.at[i] = rows_.at[rows_.count - 1];
      rows_.code[i] = rows_.code[rows_.count - 1];
    }
  }

  void scan_rows(int64_t list, int64_t first, int64_t count) {
    bool fused = chunk_.begin[list + 1] - chunk_.begin[list] == 1 && has_fused(args_.codec.type);
    gather(list, first, count, !fused);
    if (rows_.count == 0) {
      return;
    }
    if (fused) {
      return scan_codes(list, chunk_.probes[chunk_.begin[list]]);
    }
    if (chunk_.begin[list + 1] - chunk_.begin[list] == 1) {
      const Probe& probe = chunk_.probes[chunk_.begin[list]];
      return args_.inner_product ? scan_alone<true>(list, probe) : scan_alone<false>(list, probe);
    }
    float norm = args_.inner_product ? largest_norm(rows_.at, rows_.count, d_) : 0;
    const Probe* probes = chunk_.probes + chunk_.begin[list];
    for (int64_t left = chunk_.begin[list + 1] - chunk_.begin[list]; left > 0;) {
      int64_t n = at_most(left, kScanQueries);
      const float* queries[kScanQueries];
      for (int64_t i = 0; i < n; i++) {
        queries[i] = args_.queries + (chunk_.scan.first_query + probes[i].query) * d_;
      }
      if (args_.inner_product) {
        scan_block<true>(rows_.at, rows_.count, queries, n, d_, values_);
      } else {
        scan_block<false>(rows_.at, rows_.count, queries, n, d_, values_);
      }
      for (int64_t i = 0; i < n; i++) {
        collect(list, probes[i], values_ + i * kScanRows, norm);
      }
      probes += n;
      left -= n;
    }
  }

  // The rows of a block against the only query of their list.
  template <bool kInnerProduct>
  void scan_alone(int64_t list, const Probe& probe) {
    const float* query = args_.queries + (chunk_.scan.first_query + probe.query) * d_;
    float norm2 = 0;
    for (int64_t i = 0; i < rows_.count; i++) {
      OneRow scored = one_row<kInnerProduct>(rows_.at[i], query, d_);
      values_[i] = kInnerProduct ? -scored.value : scored.value;
      norm2 = scored.norm2 <= norm2 ? norm2 : scored.norm2;  // NaN replaces
    }
    collect(list, probe, values_, norm_of(norm2, d_));
  }

  // The codes of a block against one query.
  void scan_codes(int64_t list, const Probe& probe) {
    const float* query = args_.queries + (chunk_.scan.first_query + probe.query) * d_;
    const float* add = args_.centroids ? args_.centroids + list * d_ : nullptr;
    float norms[kScanRows], norm2 = 0;
    if (args_.inner_product) {
      fused_block<true>(args_.codec, rows_.code, rows_.count, add, query, values_, norms);
    } else {
      fused_block<false>(args_.codec, rows_.code, rows_.count, add, query, values_, norms);
    }
    for (int64_t i = 0; i < rows_.count && args_.inner_product; i++) {
      norm2 = norms[i] <= norm2 ? norm2 : norms[i];
    }
    collect(list, probe, values_, norm_of(norm2, d_));
  }

  // What of a row of values is near enough. `norm` bounds |b| (inner products).
  void collect(int64_t list, const Probe& probe, const float* values, float norm) {
    int64_t q = probe.query;
    distances_ += rows_before(probe.limit);
    const double tiny = (d_ + 64) * kTiny;
    double slack = 0;
    bool exact = false;
    if (args_.inner_product) {
      double product = chunk_.norms[q] * norm;
      exact = !(product <= kLargestProduct);
      slack = error_ * product + tiny;
    }
    if (exact) {
      for (int64_t i = 0; i < rows_.count && rows_.offset[i] < probe.limit; i++) {
        take_exactly(list, q, rows_.offset[i]);
      }
      return;
    }
    float tau = chunk_.range ? radius() : candidates_.refresh(q);
    double bound = args_.inner_product ? tau + slack : tau * (1 + 3 * error_) + 2 * tiny;
    const vf threshold = broadcast(round_down_to_finite(round_up(bound)));
    for (int64_t j = 0; j < rows_.count; j += W) {
      for (uint32_t near = bits(load(values + j) <= threshold); near; near &= near - 1) {
        int64_t i = j + __builtin_ctz(near);
        if (i >= rows_.count || rows_.offset[i] >= probe.limit) {
          break;
        }
        if (chunk_.range) {
          take_exactly(list, q, rows_.offset[i]);
          continue;
        }
        double value = values[i], error = args_.inner_product ? slack : value * error_ + tiny;
        candidates_.insert(q, list << 32 | rows_.offset[i], round_down(value - error), round_up(value + error));
      }
    }
  }

  int64_t rows_before(int64_t limit) const {
    int64_t n = rows_.count;
    while (n > 0 && rows_.offset[n - 1] >= limit) {
      n--;
    }
    return n;
  }

  static float round_down_to_finite(float x) { return x <= kFloatMax ? x : kFloatMax; }

  float radius() const { return args_.inner_product ? -chunk_.range->radius : chunk_.range->radius; }

  void take_exactly(int64_t list, int64_t q, int64_t offset) {
    int64_t place = list << 32 | offset;
    if (!chunk_.range) {
      return candidates_.insert_exactly(q, place, scratch_);
    }
    double score = score_entry(args_, chunk_.scan.first_query + q, place, scratch_);
    float distance = args_.inner_product ? 0.0f - static_cast<float>(score) : static_cast<float>(score);
    bool within = args_.inner_product ? distance > chunk_.range->radius : distance < chunk_.range->radius;
    if (is_result(score) && within) {
      chunk_.range->emit(chunk_.range->sink, number_, chunk_.scan.first_query + q, distance,
                         args_.lists[list].ids[offset]);
    }
  }

  Chunk& chunk_;
  const IvfScanArgs& args_;
  int64_t number_, d_;
  double error_;
  EntryCandidates candidates_;
  Rows rows_;
  float *decoded_, *values_, *scratch_;
  int64_t distances_ = 0;
};

// The results of one query, from the candidates of all workers.
void select_results(const Chunk& chunk, const EntryCandidates* const* workers, int64_t num_workers, int64_t q) {
  const Scan& s = chunk.scan;
  const IvfScanArgs& args = *s.args;
  int64_t total = 0;
  for (int64_t w = 0; w < num_workers; w++) {
    total += workers[w]->size(q);
  }
  Arena arena(Scratch::tile, Arena::padded<Scored>(s.k) + Arena::padded<float>(args.codec.d) +
                                 Arena::padded<float>(total) + Arena::padded<int64_t>(total));
  TopK top(arena.take<Scored>(s.k), s.k);
  auto* row = arena.take<float>(args.codec.d);
  auto* upper = arena.take<float>(total);
  auto* near = arena.take<int64_t>(total);
  int64_t at = 0, num_near = 0;
  for (int64_t w = 0; w < num_workers; w++) {
    __builtin_memcpy(upper + at, workers[w]->upper(q), workers[w]->size(q) * sizeof(float));
    at += workers[w]->size(q);
  }
  float tau = bound_of_kth(upper, total, s.k);
  for (int64_t w = 0; w < num_workers; w++) {
    const float* lower = workers[w]->lower(q);
    for (int64_t i = 0; i < workers[w]->size(q); i++) {
      near[num_near] = workers[w]->places(q)[i];
      num_near += lower[i] <= tau;
    }
  }
  for (int64_t i = 0; i < num_near; i++) {
    int64_t place = near[i];
    if (i + 2 < num_near) {
      const ScanList& soon = args.lists[list_of(near[i + 2])];
      const char* code = reinterpret_cast<const char*>(soon.codes + offset_of(near[i + 2]) * args.codec.code_size());
      for (int64_t byte = 0; byte < args.codec.code_size(); byte += 64) {
        __builtin_prefetch(code + byte);
      }
    }
    double score = score_entry(args, s.first_query + q, place, row);
    if (is_result(score)) {
      top.push({score, args.places ? place : args.lists[list_of(place)].ids[offset_of(place)]});
    }
  }
  top.sort();
  int64_t out = (s.first_query + q) * args.k;
  write_results(top, args.k, args.inner_product, args.distances + out, args.ids + out);
}

int64_t rows_per_task(int64_t d) {
  return at_least(1, kTaskBytes / (4 * at_least(d, 1)) / kScanRows) * kScanRows;
}

// Calls f(list, limit) for what a query looks at.
template <typename F>
METALFAISS_INLINE void for_each_probe(const IvfScanArgs& args, int64_t query, F f) {
  for (int64_t j = query * args.nprobe; j < (query + 1) * args.nprobe; j++) {
    int64_t list = args.probes[j];
    if (list >= 0 && list < args.nlist) {
      int64_t size = args.lists[list].size;
      int64_t limit = args.limits ? at_most(args.limits[j], size) : size;
      if (limit > 0) {
        f(list, limit);
      }
    }
  }
}

void add_counts(IvfScanCounts& counts, int64_t lists, const Worker* workers, int64_t num_workers) {
  counts.lists += lists;
  for (int64_t w = 0; w < num_workers; w++) {
    counts.distances += workers[w].distances();
    counts.candidates += workers[w].candidates().taken();
  }
}

// Queries [first, first + n).
void scan_chunk(const IvfScanArgs& args, const IvfRangeArgs* range, int64_t first, int64_t n, int64_t threads) {
  Arena arena(Scratch::packed_a, Arena::padded<int64_t>(args.nlist + 1) + Arena::padded<Probe>(n * args.nprobe) +
                                     Arena::padded<double>(n) + Arena::padded<float>(n) +
                                     Arena::padded<Worker>(threads) + Arena::padded<const EntryCandidates*>(threads));
  auto* begin = arena.take<int64_t>(args.nlist + 1);
  auto* probes = arena.take<Probe>(n * args.nprobe);
  auto* norms = arena.take<double>(n);
  auto* tau = arena.take<float>(n);
  auto* workers = arena.take<Worker>(threads);
  auto* candidates = arena.take<const EntryCandidates*>(threads);

  __builtin_memset(begin, 0, (args.nlist + 1) * sizeof(int64_t));
  int64_t most = 0, lists = 0;  // entries a query looks at, and lists that all do
  for (int64_t q = 0; q < n; q++) {
    int64_t entries = 0;
    for_each_probe(args, first + q, [&](int64_t list, int64_t limit) {
      begin[list + 1]++;
      entries += limit;
      lists++;
    });
    most = at_least(most, entries);
    tau[q] = kFloatMax;
    norms[q] = 0;
    if (args.inner_product) {
      const float* values = args.queries + (first + q) * args.codec.d;
      norms[q] = __builtin_sqrt(exact_sum<true>(values, values, args.codec.d)) * (1 + 0x1p-40);
    }
  }
  int64_t step = rows_per_task(args.codec.d), num_tasks = 0;
  for (int64_t list = 0; list < args.nlist; list++) {
    num_tasks += begin[list + 1] ? ceil_div(args.lists[list].size, step) : 0;
    begin[list + 1] += begin[list];
  }
  for (int64_t q = 0; q < n; q++) {
    for_each_probe(args, first + q, [&](int64_t list, int64_t limit) { probes[begin[list]++] = {q, limit}; });
  }
  for (int64_t list = args.nlist; list > 0; list--) {
    begin[list] = begin[list - 1];
  }
  begin[0] = 0;
  Arena task_arena(Scratch::packed_b, Arena::padded<Task>(num_tasks));
  auto* tasks = task_arena.take<Task>(num_tasks);
  num_tasks = 0;
  for (int64_t list = 0; list < args.nlist; list++) {
    int64_t size = args.lists[list].size;
    for (int64_t at = 0; begin[list] < begin[list + 1] && at < size; at += step) {
      tasks[num_tasks++] = {list, at, at_most(step, size - at)};
    }
  }

  int64_t k = at_least(1, at_most(args.k, most));
  int64_t capacity = at_most(round_up(k + at_least(k, 54), int64_t{16}), at_least(most, 16));
  Chunk chunk{{&args, first, n, k, capacity, tau}, probes, begin, tasks, norms, num_tasks, 0, range};
  int64_t num_workers = at_least(1, at_most(threads, num_tasks));
  size_t bytes = range ? 0 : Arena::padded<char>(EntryCandidates::bytes(n, capacity));
  char* storage = static_cast<char*>(thread_scratch(Scratch::candidates, num_workers * bytes + 64));
  for (int64_t w = 0; w < num_workers; w++) {
    Worker worker(chunk, w, storage + w * bytes);
    __builtin_memcpy(static_cast<void*>(workers + w), &worker, sizeof worker);
    candidates[w] = &workers[w].candidates();
  }
  parallel_for(num_workers, [&](int64_t w) { workers[w].work(); });
  if (args.counts) {
    add_counts(*args.counts, lists, workers, num_workers);
  }
  if (!range) {
    parallel_for(ceil_div(n, 4), [&](int64_t i) {
      for (int64_t q = 4 * i; q < at_most(4 * i + 4, n); q++) {
        select_results(chunk, candidates, num_workers, q);
      }
    });
  }
}

void scan(const IvfScanArgs& args, const IvfRangeArgs* range) {
  int64_t threads = range ? range->workers : num_threads(), k = range ? 1 : args.k;
  int64_t per_query = threads * 16 * (k + at_least(k, 70));
  int64_t chunk = at_least(1, at_most(kCandidateBytes / per_query, kProbesPerChunk / at_least(args.nprobe, 1)));
  for (int64_t first = 0; first < args.num_queries; first += chunk) {
    scan_chunk(args, range, first, at_most(chunk, args.num_queries - first), threads);
  }
}

}  // namespace

void ivf_scan(const IvfScanArgs& args) {
  scan(args, nullptr);
}

void ivf_range_scan(const IvfRangeArgs& args) {
  scan(args.scan, &args);
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
