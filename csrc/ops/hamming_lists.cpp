#include "ops/hamming_lists.h"

#include <algorithm>
#include <limits>

#include "cpu/hamming.h"
#include "cpu/parallel.h"
#include "mlx/transforms.h"
#include "ops/hamming_best.h"
#include "ops/ivf_stats.h"

namespace metalfaiss::ops {

namespace {

constexpr const char* kSearch = "search_hamming_lists";
constexpr const char* kRangeHammingLists = "range_search_hamming_lists";

// Calls see(n, distances, ids) for the codes of one query's lists, block by block. `see` is given those selected.
// Returns what it did.
template <typename See>
IvfCounts scan(const uint8_t* query, const int64_t* probes, int64_t nprobe, const HammingLists& l, const See& see) {
  IvfCounts counts{.nq = 1};
  int32_t distances[kHammingBlock];
  int64_t rows[kHammingBlock], ids[kHammingBlock];
  uint8_t member[kHammingBlock];
  int64_t& seen = counts.ndis;
  for (int64_t p = 0; p < nprobe && (l.max_codes == 0 || seen < l.max_codes); p++) {
    if (probes[p] < 0 || probes[p] >= static_cast<int64_t>(l.lists->size())) {
      continue;
    }
    const index::InvertedList& list = (*l.lists)[probes[p]];
    const int64_t size = l.max_codes ? std::min(list.size, l.max_codes - seen) : list.size;
    counts.nlist += size > 0;
    for (int64_t begin = 0; begin < size; begin += kHammingBlock) {
      int64_t n = std::min(kHammingBlock, size - begin);
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

class SearchHammingLists : public AtOnce {
 public:
  SearchHammingLists(mx::Stream s, int64_t k, HammingLists lists) : AtOnce(s), k_(k), lists_(std::move(lists)) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    allocate(outputs[0]);
    allocate(outputs[1]);
    schedule(stream(), [q = inputs[0], probes = inputs[1], distances = outputs[0], ids = outputs[1], k = k_,
                        lists = lists_]() mutable {
      Stopwatch watch;
      int64_t nprobe = probes.shape(1);
      cpu::parallel_for(q.shape(0), [&](int64_t i) {
        HammingBest best(k);
        IvfCounts counts = scan(q.data<uint8_t>() + i * lists.code_size, probes.data<int64_t>() + i * nprobe, nprobe,
                                lists, [&](int64_t n, const int32_t* d, const int64_t* at) { best.see(n, d, at); });
        counts.nheap_updates = best.taken();
        ivf_stats().add(counts);
        best.write(distances.data<int32_t>() + i * k, ids.data<int64_t>() + i * k);
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
  return {row_contiguous(xq, s), row_contiguous(mx::astype(probes, mx::int64, s), s)};
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
  std::vector<std::vector<HammingFound>> hits(nq);
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
  });
  ivf_stats().add({.search_time = watch.milliseconds()});
  auto [lims, distances, ids] = collected(hits);
  auto shape = [](size_t n) { return mx::Shape{static_cast<mx::ShapeElem>(n)}; };
  return {mx::array(lims.data(), shape(lims.size()), mx::int64),
          mx::array(distances.data(), shape(distances.size()), mx::float32),
          mx::array(ids.data(), shape(ids.size()), mx::int64)};
}

}  // namespace metalfaiss::ops
