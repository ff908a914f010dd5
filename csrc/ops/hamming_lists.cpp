#include "ops/hamming_lists.h"

#include <algorithm>
#include <limits>

#include "cpu/hamming.h"
#include "cpu/parallel.h"
#include "mlx/transforms.h"
#include "ops/ivf_stats.h"

namespace metalfaiss::ops {

namespace {

constexpr const char* kSearch = "search_hamming_lists";
constexpr const char* kRangeHammingLists = "range_search_hamming_lists";
constexpr int64_t kBlock = 1024;  // codes compared at once

struct ListedHit {
  int32_t distance;
  int64_t id;
  bool operator<(const ListedHit& o) const { return distance != o.distance ? distance < o.distance : id < o.id; }
};

// Calls see(n, distances, ids) for the codes of one query's lists, block by block. `see` is given those selected.
// Returns what it did.
template <typename See>
IvfCounts scan(const uint8_t* query, const int64_t* probes, int64_t nprobe, const HammingLists& l, const See& see) {
  IvfCounts counts{.nq = 1};
  int32_t distances[kBlock];
  int64_t rows[kBlock], ids[kBlock];
  uint8_t member[kBlock];
  int64_t& seen = counts.ndis;
  for (int64_t p = 0; p < nprobe && (l.max_codes == 0 || seen < l.max_codes); p++) {
    if (probes[p] < 0 || probes[p] >= static_cast<int64_t>(l.lists->size())) {
      continue;
    }
    const index::InvertedList& list = (*l.lists)[probes[p]];
    const int64_t size = l.max_codes ? std::min(list.size, l.max_codes - seen) : list.size;
    counts.nlist += size > 0;
    for (int64_t begin = 0; begin < size; begin += kBlock) {
      int64_t n = std::min(kBlock, size - begin);
      const uint8_t* codes = list.codes() + begin * l.code_size;
      if (!l.selector) {
        cpu::hammings({{query, 1, codes, nullptr, n, l.code_size}, distances});
        see(n, distances, list.ids() + begin);
        seen += n;
        continue;
      }
      l.selector->members(list.ids() + begin, n, member);
      int64_t chosen = 0;
      for (int64_t i = 0; i < n; i++) {
        rows[chosen] = i;
        ids[chosen] = list.ids()[begin + i];
        chosen += member[i];
      }
      if (chosen) {
        cpu::hammings({{query, 1, codes, rows, chosen, l.code_size}, distances});
        see(chosen, distances, ids);
        seen += chosen;
      }
    }
  }
  return counts;
}

// The k best, ordered by distance and id, in memory for 2 k + kBlock of them.
class Best {
 public:
  explicit Best(int64_t k) : k_(static_cast<size_t>(k)) {}

  void see(int64_t n, const int32_t* distances, const int64_t* ids) {
    for (int64_t i = 0; i < n; i++) {
      if (distances[i] < worst_.distance || (distances[i] == worst_.distance && ids[i] < worst_.id)) {
        hits_.push_back({distances[i], ids[i]});
        taken_++;
      }
    }
    if (hits_.size() >= 2 * k_ + kBlock || (worst_.id == kAny && hits_.size() >= k_)) {
      shrink();
    }
  }

  int64_t taken() const { return taken_; }

  const std::vector<ListedHit>& sorted() {
    shrink();
    std::sort(hits_.begin(), hits_.end());
    return hits_;
  }

 private:
  static constexpr int64_t kAny = std::numeric_limits<int64_t>::max();

  void shrink() {
    if (hits_.size() >= k_) {
      std::nth_element(hits_.begin(), hits_.begin() + static_cast<int64_t>(k_) - 1, hits_.end());
      hits_.resize(k_);
      worst_ = hits_.back();
    }
  }

  size_t k_;
  int64_t taken_ = 0;
  std::vector<ListedHit> hits_;
  ListedHit worst_{std::numeric_limits<int32_t>::max(), kAny};  // the k-th, as far as known
};

class SearchHammingLists : public mx::Primitive {
 public:
  SearchHammingLists(mx::Stream s, int64_t k, HammingLists lists) : Primitive(s), k_(k), lists_(std::move(lists)) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    allocate(outputs[0]);
    allocate(outputs[1]);
    schedule(stream(), [q = inputs[0], probes = inputs[1], distances = outputs[0], ids = outputs[1], k = k_,
                        lists = lists_]() mutable {
      Stopwatch watch;
      int64_t nprobe = probes.shape(1);
      cpu::parallel_for(q.shape(0), [&](int64_t i) {
        Best best(k);
        IvfCounts counts = scan(q.data<uint8_t>() + i * lists.code_size, probes.data<int64_t>() + i * nprobe, nprobe,
                                lists, [&](int64_t n, const int32_t* d, const int64_t* at) { best.see(n, d, at); });
        counts.nheap_updates = best.taken();
        ivf_stats().add(counts);
        const std::vector<ListedHit>& found = best.sorted();
        for (int64_t j = 0; j < k; j++) {
          bool there = j < static_cast<int64_t>(found.size());
          distances.data<int32_t>()[i * k + j] = there ? found[j].distance : std::numeric_limits<int32_t>::max();
          ids.data<int64_t>()[i * k + j] = there ? found[j].id : -1;
        }
      });
      ivf_stats().add({.search_time = watch.milliseconds()});
    });
  }

  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    throw std::runtime_error(message(kSearch, "It runs on CPU streams: pass stream=mx.cpu. Received a GPU stream."));
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    mx::Shape shape{inputs[0].shape(0), static_cast<mx::ShapeElem>(k_)};
    return {shape, shape};
  }

  const char* name() const override { return kSearch; }

  bool is_equivalent(const Primitive& other) const override {
    auto& o = static_cast<const SearchHammingLists&>(other);
    return k_ == o.k_ && lists_.lists == o.lists_.lists && lists_.selector == o.lists_.selector &&
           lists_.max_codes == o.lists_.max_codes;
  }

 private:
  int64_t k_;
  HammingLists lists_;
};

std::vector<mx::array> operands(const char* op, const mx::array& xq, const mx::array& probes, const HammingLists& l,
                                mx::Stream s) {
  require(s.device == mx::Device::cpu, op, "It runs on CPU streams: pass stream=mx.cpu. Received a GPU stream.");
  require(xq.dtype() == mx::uint8 && xq.ndim() == 2 && xq.shape(1) == l.code_size, op, "xq must be uint8 (nq, ",
          l.code_size, "). Received shape ", xq.shape(), ".");
  require(probes.ndim() == 2 && probes.shape(0) == xq.shape(0), op, "probes must have a row for each query. Received ",
          probes.shape(), " for ", xq.shape(), ".");
  return {mx::contiguous(xq, false, s), mx::contiguous(mx::astype(probes, mx::int64, s), false, s)};
}

}  // namespace

std::pair<mx::array, mx::array> search_hamming_lists(const mx::array& xq, const mx::array& probes, int64_t k,
                                                     const HammingLists& lists, mx::StreamOrDevice s) {
  mx::Stream stream = cpu_stream(kSearch, s);
  auto inputs = operands(kSearch, xq, probes, lists, stream);
  require(k >= 1 && k <= std::numeric_limits<mx::ShapeElem>::max(), kSearch,
          "k must be at least 1 and less than 2^31. Received ", k, ".");
  auto primitive = std::make_shared<SearchHammingLists>(stream, k, lists);
  auto shapes = primitive->output_shapes(inputs);
  auto out = mx::array::make_arrays(shapes, {mx::int32, mx::int64}, primitive, inputs);
  return {out[0], out[1]};
}

std::tuple<mx::array, mx::array, mx::array> range_search_hamming_lists(const mx::array& xq, const mx::array& probes,
                                                                       int64_t radius, const HammingLists& lists) {
  auto inputs = operands(kRangeHammingLists, xq, probes, lists, mx::default_stream(mx::Device::cpu));
  mx::eval(inputs);
  Stopwatch watch;
  int64_t nq = xq.shape(0), nprobe = probes.shape(1);
  std::vector<std::vector<ListedHit>> hits(nq);
  cpu::parallel_for(nq, [&](int64_t i) {
    IvfCounts counts = scan(inputs[0].data<uint8_t>() + i * lists.code_size, inputs[1].data<int64_t>() + i * nprobe,
                            nprobe, lists, [&](int64_t n, const int32_t* d, const int64_t* ids) {
                              for (int64_t j = 0; j < n; j++) {
                                if (d[j] < radius) {
                                  hits[i].push_back({d[j], ids[j]});
                                }
                              }
                            });
    ivf_stats().add(counts);
    std::sort(hits[i].begin(), hits[i].end(), [](const ListedHit& a, const ListedHit& b) { return a.id < b.id; });
  });
  ivf_stats().add({.search_time = watch.milliseconds()});
  std::vector<int64_t> lims{0}, ids;
  std::vector<float> distances;
  for (const auto& of_query : hits) {
    for (const ListedHit& h : of_query) {
      distances.push_back(static_cast<float>(h.distance));
      ids.push_back(h.id);
    }
    lims.push_back(static_cast<int64_t>(ids.size()));
  }
  auto shape = [](size_t n) { return mx::Shape{static_cast<mx::ShapeElem>(n)}; };
  return {mx::array(lims.data(), shape(lims.size()), mx::int64),
          mx::array(distances.data(), shape(distances.size()), mx::float32),
          mx::array(ids.data(), shape(ids.size()), mx::int64)};
}

}  // namespace metalfaiss::ops
