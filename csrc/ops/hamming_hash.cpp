#include "ops/hamming_hash.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "cpu/hamming.h"
#include "cpu/parallel.h"
#include "ops/at_once.h"
#include "ops/hamming_best.h"

namespace metalfaiss::ops {

namespace {

constexpr const char* kSearchHash = "search_hash";
constexpr int64_t kAhead = 8;                // hashes whose slots are on their way
constexpr int64_t kTaskDistances = 1 << 12;  // expected of a task: some ten microseconds
constexpr int64_t kManyFlips = int64_t{1} << 62;

// How many numbers of `bits` bits have at most `nflip` ones; kManyFlips where that is more.
int64_t count_flips(int64_t bits, int64_t nflip) {
  double total = 0, of_size = 1;
  for (int64_t i = 0; i <= std::min(bits, nflip); i++) {
    total += of_size;
    of_size = of_size * static_cast<double>(bits - i) / static_cast<double>(i + 1);
  }
  return total < static_cast<double>(kManyFlips) ? static_cast<int64_t>(total + 0.5) : kManyFlips;
}

// These numbers, those with fewer ones first.
std::vector<uint64_t> flips(int bits, int64_t nflip) {
  std::vector<uint64_t> out{0};
  size_t begin = 0;
  for (int64_t ones = 1; ones <= std::min<int64_t>(bits, nflip); ones++) {
    size_t end = out.size();
    for (size_t i = begin; i < end; i++) {  // one more bit, above those that are set
      for (int bit = std::bit_width(out[i]); bit < bits; bit++) {
        out.push_back(out[i] | uint64_t{1} << bit);
      }
    }
    begin = end;
  }
  return out;
}

// Ids that have been seen: room for so many is made before.
class Seen {
 public:
  void start(int64_t n) {
    slots_.assign(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(2 * n, 16))), -1);
    shift_ = 64 - std::countr_zero(slots_.size());
  }
  bool insert(int64_t id) {
    uint64_t at = static_cast<uint64_t>(id) * 0x9e3779b97f4a7c15u >> shift_;
    while (slots_[at] != -1 && slots_[at] != id) {
      at = (at + 1) & (slots_.size() - 1);
    }
    bool fresh = slots_[at] == -1;
    slots_[at] = id;
    return fresh;
  }

 private:
  std::vector<int64_t> slots_;
  int shift_ = 0;
};

// What all queries share.
struct Plan {
  Plan(const HashSource& source, StoredCodes stored) : source(source), tables(*source.tables), stored(stored) {
    int64_t keys = 0;
    for (const auto& segment : *source.segments) {
      n += segment->n;
      for (const index::HashTable& table : segment->tables) {
        keys += static_cast<int64_t>(table.keys().size());
      }
    }
    num_flips = count_flips(tables.bits(), source.nflip);
    look_at_keys = num_flips * tables.tables() > keys;
    if (!look_at_keys) {
      masks = flips(tables.bits(), source.nflip);
    }
    double found =
        static_cast<double>(num_flips) * static_cast<double>(n) / std::max<double>(1, static_cast<double>(keys));
    queries_of_task = std::max<int64_t>(1, static_cast<int64_t>(kTaskDistances / std::max(found, 16.0)));
  }

  const HashSource& source;
  const index::HashTables& tables;
  StoredCodes stored;
  std::vector<uint64_t> masks;
  int64_t n = 0, num_flips;
  bool look_at_keys;  // rather than for each of the many hashes that a query may find
  int64_t queries_of_task;
};

// One thread's search, query by query.
class Searcher {
 public:
  explicit Searcher(const Plan& plan) : plan_(plan), code_size_(plan.tables.code_size()) {}

  // Calls see(n, distances, ids), block by block.
  template <typename See>
  void search(const uint8_t* query, HashCounts& counts, const See& see) {
    counts.nq++;
    found_.clear();
    for (int64_t t = 0; t < plan_.tables.tables(); t++) {
      find(plan_.tables.hash(query, t), t, counts);
    }
    int64_t total = 0;
    for (const Found& f : found_) {
      total += f.n;
    }
    auto push_to = [&](const uint8_t* codes, const int64_t* ids, int64_t n) { push(query, codes, ids, n, see); };
    if (plan_.tables.keeps_codes()) {
      counts.ndis += total;
      for (const Found& f : found_) {
        for (int64_t i = 0; i < f.n; i += kHammingBlock) {
          push_selected(f.codes + i * code_size_, f.ids + i, std::min(kHammingBlock, f.n - i), push_to);
        }
      }
    } else {
      seen_.start(total);
      for (const Found& f : found_) {
        for (int64_t i = 0; i < f.n; i++) {
          if (seen_.insert(f.ids[i])) {
            counts.ndis++;
            if (f.ids[i] < plan_.stored.n && member(f.ids[i])) {
              push_to(plan_.stored.codes + f.ids[i] * code_size_, f.ids + i, 1);
            }
          }
        }
      }
    }
    flush(query, see);
  }

 private:
  struct Found {
    const int64_t* ids;
    const uint8_t* codes;
    int64_t n;
  };

  bool member(int64_t id) const { return !plan_.source.selector || plan_.source.selector->member(id); }

  void find(uint64_t hash, int64_t t, HashCounts& counts) {
    size_t before = found_.size();
    for (const auto& segment : *plan_.source.segments) {
      const index::HashTable& table = segment->tables[t];
      if (plan_.look_at_keys) {
        for (size_t key = 0; key < table.keys().size(); key++) {
          if (std::popcount(table.keys()[key] ^ hash) <= plan_.source.nflip) {
            take(*segment, t, table.run(static_cast<int64_t>(key)));
          }
        }
        continue;
      }
      auto masks = static_cast<int64_t>(plan_.masks.size());
      for (int64_t i = 0; i < std::min(kAhead, masks); i++) {
        table.prefetch(hash ^ plan_.masks[i]);
      }
      for (int64_t i = 0; i < masks; i++) {
        if (i + kAhead < masks) {
          table.prefetch(hash ^ plan_.masks[i + kAhead]);
        }
        take(*segment, t, table.find(hash ^ plan_.masks[i]));
      }
    }
    auto lists = static_cast<int64_t>(found_.size() - before);
    counts.nlist += lists;
    counts.n0 += plan_.tables.keeps_codes() ? 0 : std::max<int64_t>(plan_.num_flips - lists, 0);
  }

  void take(const index::HashSegment& segment, int64_t t, index::HashTable::Run run) {
    if (run.begin < run.end) {
      const uint8_t* codes = segment.codes.data() + (segment.codes.empty() ? 0 : run.begin * code_size_);
      found_.push_back({segment.ids[t].data() + run.begin, codes, run.end - run.begin});
      __builtin_prefetch(found_.back().ids);
      __builtin_prefetch(codes);
    }
  }

  template <typename Push>
  void push_selected(const uint8_t* codes, const int64_t* ids, int64_t n, const Push& push) {
    if (!plan_.source.selector) {
      return push(codes, ids, n);
    }
    uint8_t members[kHammingBlock];
    plan_.source.selector->members(ids, n, members);
    for (int64_t i = 0; i < n; i++) {
      if (members[i]) {
        push(codes + i * code_size_, ids + i, 1);
      }
    }
  }

  template <typename See>
  void push(const uint8_t* query, const uint8_t* codes, const int64_t* ids, int64_t n, const See& see) {
    if (pending_ + n > kHammingBlock) {
      flush(query, see);
    }
    runs_[num_runs_++] = {codes, n};
    std::copy(ids, ids + n, ids_ + pending_);
    pending_ += n;
  }

  template <typename See>
  void flush(const uint8_t* query, const See& see) {
    int32_t distances[kHammingBlock];
    cpu::hamming_runs({query, code_size_, runs_, num_runs_, distances});
    see(pending_, distances, ids_);
    num_runs_ = pending_ = 0;
  }

  const Plan& plan_;
  int64_t code_size_;
  std::vector<Found> found_;
  Seen seen_;
  int64_t num_runs_ = 0, pending_ = 0;
  cpu::HammingRun runs_[kHammingBlock];  // each has one code at least
  int64_t ids_[kHammingBlock];
};

// Calls f(query, searcher, counts) for each, on all threads.
template <typename F>
void each_query(const Plan& plan, int64_t nq, const F& f) {
  int64_t of_task = plan.queries_of_task;
  cpu::parallel_for((nq + of_task - 1) / of_task, [&](int64_t task) {
    Searcher searcher(plan);
    HashCounts counts;
    for (int64_t i = task * of_task; i < std::min(nq, (task + 1) * of_task); i++) {
      f(i, searcher, counts);
    }
    hash_stats().add(counts);
  });
}

class SearchHash : public AtOnce {
 public:
  SearchHash(mx::Stream s, int64_t k, HashSource source) : AtOnce(s), k_(k), source_(std::move(source)) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    allocate(outputs[0]);
    allocate(outputs[1]);
    schedule(stream(), [inputs, distances = outputs[0], ids = outputs[1], k = k_, source = source_]() mutable {
      StoredCodes stored{nullptr, 0};
      if (inputs.size() == 2) {
        stored = {inputs[1].data<uint8_t>(), inputs[1].shape(0)};
      }
      search_hash(source, stored, inputs[0].data<uint8_t>(), inputs[0].shape(0), k, distances.data<int32_t>(),
                  ids.data<int64_t>());
    });
  }

  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    throw std::runtime_error(
        message(kSearchHash, "It runs on CPU streams: pass stream=mx.cpu. Received a GPU stream."));
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    mx::Shape shape{inputs[0].shape(0), static_cast<mx::ShapeElem>(k_)};
    return {shape, shape};
  }

  const char* name() const override { return kSearchHash; }

  bool is_equivalent(const Primitive& other) const override {
    auto& o = static_cast<const SearchHash&>(other);
    return k_ == o.k_ && source_.segments == o.source_.segments && source_.nflip == o.source_.nflip &&
           source_.selector == o.source_.selector;
  }

 private:
  int64_t k_;
  HashSource source_;
};

}  // namespace

HashCounts& HashCounts::operator+=(const HashCounts& o) {
  nq += o.nq;
  n0 += o.n0;
  nlist += o.nlist;
  ndis += o.ndis;
  return *this;
}

HashStats& hash_stats() {
  static HashStats stats;
  return stats;
}

void search_hash(const HashSource& source, StoredCodes stored, const uint8_t* queries, int64_t nq, int64_t k,
                 int32_t* distances, int64_t* ids) {
  Plan plan(source, stored);
  each_query(plan, nq, [&](int64_t i, Searcher& searcher, HashCounts& counts) {
    HammingBest best(k);
    searcher.search(queries + i * plan.tables.code_size(), counts,
                    [&](int64_t n, const int32_t* d, const int64_t* at) { best.see(n, d, at); });
    best.write(distances + i * k, ids + i * k);
  });
}

RangeResults range_search_hash(const HashSource& source, StoredCodes stored, const uint8_t* queries, int64_t nq,
                               int64_t radius) {
  Plan plan(source, stored);
  std::vector<std::vector<HammingFound>> hits(nq);
  each_query(plan, nq, [&](int64_t i, Searcher& searcher, HashCounts& counts) {
    searcher.search(queries + i * plan.tables.code_size(), counts,
                    [&](int64_t n, const int32_t* d, const int64_t* ids) {
                      for (int64_t j = 0; j < n; j++) {
                        if (d[j] < radius) {
                          hits[i].push_back({d[j], ids[j]});
                        }
                      }
                    });
  });
  return collected(hits);
}

std::pair<mx::array, mx::array> search_hash(const mx::array& xq, int64_t k, const HashSource& source,
                                            const std::optional<mx::array>& codes, mx::StreamOrDevice s) {
  mx::Stream stream = cpu_stream(kSearchHash, s);
  int64_t code_size = source.tables->code_size();
  require(xq.dtype() == mx::uint8 && xq.ndim() == 2 && xq.shape(1) == code_size, kSearchHash, "xq must be uint8 (nq, ",
          code_size, "). Received shape ", xq.shape(), ".");
  require(k >= 1 && k <= std::numeric_limits<mx::ShapeElem>::max(), kSearchHash,
          "k must be at least 1 and less than 2^31. Received ", k, ".");
  std::vector<mx::array> inputs{row_contiguous(xq, stream)};
  if (codes) {
    inputs.push_back(row_contiguous(*codes, stream));
  }
  auto primitive = std::make_shared<SearchHash>(stream, k, source);
  auto shapes = primitive->output_shapes(inputs);
  auto out = mx::array::make_arrays(shapes, {mx::int32, mx::int64}, primitive, inputs);
  return {out[0], out[1]};
}

}  // namespace metalfaiss::ops
