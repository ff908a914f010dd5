#include "ops/ivf_search.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "cpu/ivf_scan.h"
#include "cpu/knn.h"
#include "cpu/parallel.h"
#include "ops/codec.h"
#include "ops/common.h"
#include "ops/ivf_stats.h"

namespace metalfaiss::ops {

namespace {

constexpr const char* kIvfSearch = "ivf_search";

// Centers are sketched if there are as many, and sketches are looked at where probes are a small part of them: of 1024
// real ones, for 16 probes, about 50 are left (benchmarks/bench_faiss.py --only "1 query").
constexpr int64_t kSketched = 256, kSketchedShare = 8;

// Those that are probed; the others stay empty. To look at each of a thousand lists costs as much as to scan one.
std::vector<cpu::ScanList> scan_lists(const IvfSource& source, const int64_t* probes, int64_t count) {
  int64_t nlist = static_cast<int64_t>(source.lists->size());
  std::vector<cpu::ScanList> out(nlist);
  auto fill = [&](int64_t i) {
    const index::InvertedList& list = (*source.lists)[i];
    out[i] = {list.codes(), list.ids(), list.size};
  };
  if (count >= nlist) {
    for (int64_t i = 0; i < nlist; i++) {
      fill(i);
    }
    return out;
  }
  for (int64_t i = 0; i < count; i++) {
    if (probes[i] >= 0 && probes[i] < nlist) {
      fill(probes[i]);
    }
  }
  return out;
}

cpu::IvfScanArgs scan_args(const IvfSource& source, const std::vector<cpu::ScanList>& lists, const float* xq,
                           int64_t nq, const int64_t* probes, int64_t nprobe, const float* centroids) {
  cpu::IvfScanArgs args{};
  args.queries = xq;
  args.num_queries = nq;
  args.codec = source.codec->view();
  args.lists = lists.data();
  args.nlist = static_cast<int64_t>(lists.size());
  args.probes = probes;
  args.nprobe = nprobe;
  args.centroids = centroids;
  args.inner_product = source.metric == Metric::inner_product;
  if (source.selector) {
    args.selector = source.selector.get();
    args.members = [](const void* selector, const int64_t* ids, int64_t n, uint8_t* out) {
      static_cast<const index::IdSelector*>(selector)->members(ids, n, out);
    };
  }
  return args;
}

class IvfSearch : public AtOnce {
 public:
  IvfSearch(mx::Stream s, IvfSource source, int64_t k, bool places)
      : AtOnce(s), source_(std::move(source)), k_(k), places_(places) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    allocate(outputs[0]);
    allocate(outputs[1]);
    schedule(stream(),
             [inputs, distances = outputs[0], ids = outputs[1], source = source_, k = k_, places = places_]() mutable {
               ivf_search_now(source, inputs[0].data<float>(), inputs[0].shape(0), inputs[1].data<int64_t>(),
                              inputs[1].shape(1), inputs.size() > 2 ? inputs[2].data<float>() : nullptr, k, places,
                              distances.data<float>(), ids.data<int64_t>());
             });
  }

  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    throw std::runtime_error(
        message(kIvfSearch, "A GPU has no kernel for it: pass stream=mx.cpu. Received a GPU stream."));
  }

  std::vector<mx::array> jvp(const std::vector<mx::array>&, const std::vector<mx::array>&,
                             const std::vector<int>&) override {
    throw ArgumentError(message(kIvfSearch,
                                "Distances found in inverted lists have no derivative: use IndexFlat. "
                                "Received a transformation that needs one."));
  }
  std::vector<mx::array> vjp(const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
                             const std::vector<int>& argnums, const std::vector<mx::array>&) override {
    return jvp(primals, cotangents, argnums);
  }

  // Queries are independent of each other: a batch of matrices is a longer one.
  std::pair<std::vector<mx::array>, std::vector<int>> vmap(const std::vector<mx::array>& inputs,
                                                           const std::vector<int>& axes) override {
    require(inputs.size() < 3 || axes[2] < 0, kIvfSearch, "Centroids must not be mapped by vmap. Received an axis.");
    int b = axes[0] >= 0 ? inputs[0].shape(axes[0]) : inputs[1].shape(axes[1]);
    auto flat = [&](int i) {
      mx::array x = inputs[i];
      if (axes[i] >= 0) {
        x = mx::moveaxis(x, axes[i], 0, stream());
      } else {
        mx::Shape shape{b, x.shape(0), x.shape(1)};
        x = mx::broadcast_to(x, shape, stream());
      }
      return mx::flatten(x, 0, 1, stream());
    };
    mx::array xq = flat(0);
    int n = xq.shape(0) / b, k = static_cast<int>(k_);
    std::optional<mx::array> centroids;
    if (inputs.size() > 2) {
      centroids = inputs[2];
    }
    auto [distances, ids] = ivf_search(xq, flat(1), centroids, source_, k_, places_, stream());
    return {{mx::reshape(distances, {b, n, k}, stream()), mx::reshape(ids, {b, n, k}, stream())}, {0, 0}};
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    mx::Shape shape{inputs[0].shape(0), static_cast<int>(k_)};
    return {shape, shape};
  }
  const char* name() const override { return kIvfSearch; }
  bool is_equivalent(const Primitive& other) const override {
    auto& o = static_cast<const IvfSearch&>(other);
    return source_.lists == o.source_.lists && source_.codec == o.source_.codec && source_.metric == o.source_.metric &&
           source_.limits.max_codes == o.source_.limits.max_codes &&
           source_.limits.ensure_topk_full == o.source_.limits.ensure_topk_full &&
           source_.selector == o.source_.selector && k_ == o.k_ && places_ == o.places_;
  }

 private:
  IvfSource source_;
  int64_t k_;
  bool places_;
};

}  // namespace

std::pair<mx::array, mx::array> ivf_search(const mx::array& xq, const mx::array& probes,
                                           const std::optional<mx::array>& centroids, IvfSource source, int64_t k,
                                           bool places, mx::StreamOrDevice s) {
  mx::Stream stream = cpu_stream(kIvfSearch, s);
  int64_t d = source.codec->d;
  require(xq.ndim() == 2 && xq.shape(1) == d, kIvfSearch, "xq must have shape (n, ", d, "). Received ", xq.shape(),
          ".");
  require(probes.ndim() == 2, kIvfSearch, "probes must have shape (n, nprobe). Received ", probes.shape(), ".");
  require(k >= 1 && k <= std::numeric_limits<mx::ShapeElem>::max(), kIvfSearch,
          "k must be at least 1 and less than 2^31. Received ", k, ".");
  std::vector<mx::array> inputs{row_contiguous(mx::astype(xq, mx::float32, stream), stream),
                                row_contiguous(mx::astype(probes, mx::int64, stream), stream)};
  if (centroids) {
    inputs.push_back(row_contiguous(mx::astype(*centroids, mx::float32, stream), stream));
  }
  auto primitive = std::make_shared<IvfSearch>(stream, std::move(source), k, places);
  auto shapes = primitive->output_shapes(inputs);
  auto out = mx::array::make_arrays(shapes, {mx::float32, mx::int64}, primitive, inputs);
  return {out[0], out[1]};
}

void ivf_search_now(const IvfSource& source, const float* xq, int64_t nq, const int64_t* probes, int64_t nprobe,
                    const float* centroids, int64_t k, bool places, float* distances, int64_t* ids) {
  Stopwatch watch;
  std::vector<cpu::ScanList> lists = scan_lists(source, probes, nq * nprobe);
  std::vector<int64_t> limits =
      probe_limits(source.limits, *source.lists, source.selector.get(), probes, nq, nprobe, k);
  cpu::IvfScanArgs args = scan_args(source, lists, xq, nq, probes, nprobe, centroids);
  cpu::IvfScanCounts counts{};
  args.limits = limits.empty() ? nullptr : limits.data();
  args.k = k;
  args.places = places;
  args.distances = distances;
  args.ids = ids;
  args.counts = &counts;
  cpu::ivf_scan(args);
  ivf_stats().add({nq, counts.lists, counts.distances, counts.candidates, 0, watch.milliseconds()});
}

void nearest_now(const float* x, int64_t n, const mx::array& rows, Metric metric, int64_t k, float* scores,
                 int64_t* ids) {
  int64_t d = rows.shape(1);
  cpu::Matrix matrix{rows.data<float>(), cpu::Float::f32, rows.shape(0), d, rows.strides(0), rows.strides(1)};
  cpu::knn({{x, cpu::Float::f32, n, d, d, 1}, matrix, k, metric == Metric::inner_product, scores, ids});
}

Centers::Centers(const mx::array& given, Metric metric, bool add) : rows(given), metric(metric), add(add) {
  require(rows.ndim() == 2 && rows.dtype() == mx::float32 && rows.is_available(), "IvfSearcher",
          "centers must be evaluated, float32, of shape (nlist, d). Received shape ", rows.shape(), ".");
  if (!rows.flags().row_contiguous) {
    rows = mx::contiguous(given, false, mx::Device::cpu);
    rows.eval();
  }
  if (rows.shape(0) >= kSketched) {
    sketch = index::RowSketch::of(rows.data<float>(), rows.shape(0), rows.shape(1));
  }
}

void ivf_assign_and_search(const IvfSource& source, const float* xq, int64_t nq, const Centers& centers, int64_t nprobe,
                           int64_t k, float* distances, int64_t* ids) {
  int64_t d = source.codec->d, nlist = static_cast<int64_t>(source.lists->size());
  require(centers.rows.shape(0) == nlist && centers.rows.shape(1) == d, "IvfSearcher", "centers must have shape (",
          nlist, ", ", d, "). Received ", centers.rows.shape(), ".");
  Sharing sharing(nq);
  Stopwatch watch;
  std::vector<float> scores(nq * nprobe);
  std::vector<int64_t> probes(nq * nprobe);
  if (centers.sketch && kSketchedShare * nprobe <= nlist) {
    cpu::Matrix rows{centers.rows.data<float>(), cpu::Float::f32, nlist, d, d, 1};
    cpu::knn_sketch({xq, nq, rows, centers.sketch->view(), nprobe, centers.metric == Metric::inner_product,
                     scores.data(), probes.data()});
  } else {
    nearest_now(xq, nq, centers.rows, centers.metric, nprobe, scores.data(), probes.data());
  }
  ivf_stats().add({0, 0, 0, 0, watch.milliseconds(), watch.milliseconds()});
  ivf_search_now(source, xq, nq, probes.data(), nprobe, centers.add ? centers.rows.data<float>() : nullptr, k, false,
                 distances, ids);
}

namespace {

struct ProbeHit {
  int64_t query, id;
  float distance;
};

// All entries within a radius, in any order.
std::vector<ProbeHit> hits_within(const IvfSource& source, const float* xq, int64_t nq, const int64_t* probes,
                                  int64_t nprobe, const float* centroids, float radius, cpu::IvfScanCounts& counts) {
  std::vector<std::vector<ProbeHit>> found(cpu::num_threads());  // asked once: another thread may set it meanwhile
  std::vector<cpu::ScanList> lists = scan_lists(source, probes, nq * nprobe);
  cpu::IvfScanArgs args = scan_args(source, lists, xq, nq, probes, nprobe, centroids);
  args.counts = &counts;
  auto emit = [](void* sink, int64_t worker, int64_t query, float distance, int64_t id) {
    (*static_cast<std::vector<std::vector<ProbeHit>>*>(sink))[worker].push_back({query, id, distance});
  };
  cpu::ivf_range_scan({args, radius, static_cast<int64_t>(found.size()), emit, &found});
  std::vector<ProbeHit> all;
  for (const std::vector<ProbeHit>& hits : found) {
    all.insert(all.end(), hits.begin(), hits.end());
  }
  return all;
}

// The same list by list, until a query has seen `patience` of them without a result one after another.
std::vector<ProbeHit> hits_until_empty(const IvfSource& source, const float* xq, int64_t nq, const int64_t* probes,
                                       int64_t nprobe, const float* centroids, float radius, int64_t patience,
                                       cpu::IvfScanCounts& counts) {
  std::vector<ProbeHit> all;
  std::vector<int64_t> column(nq), empty(nq);
  for (int64_t j = 0; j < nprobe; j++) {
    for (int64_t q = 0; q < nq; q++) {
      column[q] = empty[q] < patience ? probes[q * nprobe + j] : -1;
      empty[q]++;
    }
    std::vector<ProbeHit> hits = hits_within(source, xq, nq, column.data(), 1, centroids, radius, counts);
    for (const ProbeHit& hit : hits) {
      empty[hit.query] = 0;
    }
    all.insert(all.end(), hits.begin(), hits.end());
  }
  return all;
}

}  // namespace

RangeResult ivf_range_search(const IvfSource& source, const float* xq, int64_t nq, const int64_t* probes,
                             int64_t nprobe, const float* centroids, float radius) {
  Stopwatch watch;
  cpu::IvfScanCounts counts{};
  int64_t patience = source.limits.max_empty_result_buckets;
  std::vector<ProbeHit> all =
      patience > 0 ? hits_until_empty(source, xq, nq, probes, nprobe, centroids, radius, patience, counts)
                   : hits_within(source, xq, nq, probes, nprobe, centroids, radius, counts);
  std::sort(all.begin(), all.end(), [](const ProbeHit& a, const ProbeHit& b) {
    return std::tie(a.query, a.id, a.distance) < std::tie(b.query, b.id, b.distance);
  });
  RangeResult out;
  out.limits.resize(nq + 1);
  out.distances.reserve(all.size());
  out.ids.reserve(all.size());
  for (const ProbeHit& hit : all) {
    out.limits[hit.query + 1]++;
    out.distances.push_back(hit.distance);
    out.ids.push_back(hit.id);
  }
  for (int64_t i = 0; i < nq; i++) {
    out.limits[i + 1] += out.limits[i];
  }
  ivf_stats().add({nq, counts.lists, counts.distances, 0, 0, watch.milliseconds()});
  return out;
}

}  // namespace metalfaiss::ops
