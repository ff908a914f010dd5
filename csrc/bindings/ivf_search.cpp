#include "ops/ivf_search.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/tuple.h>

#include "bindings/bindings.h"
#include "bindings/numpy_arrays.h"
#include "ops/ivf_stats.h"

namespace metalfaiss {

namespace {

using index::InvertedLists;
using Probes = nb::ndarray<const int64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Vectors = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using ops::IvfCounts;
using ops::IvfStats;

ops::IvfSource source_of(const InvertedLists& lists, std::shared_ptr<index::Codec> codec, int metric,
                         const ops::IvfLimits& limits, std::shared_ptr<index::IdSelector> selector) {
  return {lists.snapshot(), std::move(codec), ops::metric_from_int("ivf_search", metric), limits, std::move(selector)};
}

// A property that reads, or replaces, one of the counts.
template <typename T>
void count(nb::class_<IvfStats>& stats, const char* name, T IvfCounts::* field, const char* doc) {
  stats.def_prop_rw(
      name, [field](const IvfStats& s) { return s.get().*field; },
      [field](IvfStats& s, T value) {
        IvfCounts counts = s.get();
        counts.*field = value;
        s.set(counts);
      },
      doc);
}

void bind_stats(nb::module_& m) {
  nb::class_<IvfStats> stats(m, "IndexIVFStats",
                             R"(What searches of inverted lists did: FAISS's ``IndexIVFStats``.

``cvar.indexIVF_stats`` is that of the process. Every search of an index with inverted lists adds to it, when it runs;
threads may search at once.
)");
  stats.def(nb::init<>());
  count(stats, "nq", &IvfCounts::nq, "Queries.");
  count(stats, "nlist", &IvfCounts::nlist, "Lists looked at, each for every query; empty ones are not counted.");
  count(stats, "ndis", &IvfCounts::ndis, "Distances computed, each for every query.");
  count(stats, "nheap_updates", &IvfCounts::nheap_updates,
        "Entries that were among the best when they were seen. It depends on the order in which threads see them.");
  count(stats, "quantization_time", &IvfCounts::quantization_time,
        "Milliseconds in which lists were found, by searches of NumPy queries on the calling thread.");
  count(stats, "search_time", &IvfCounts::search_time, "Milliseconds of searches, these included.");
  stats.def("reset", [](IvfStats& s) { s.set({}); }, "Sets all to 0.");
  stats.def("add", [](IvfStats& s, const IvfStats& other) { s.add(other.get()); }, "other"_a, "Adds others.");
  m.def("ivf_stats", &ops::ivf_stats, nb::rv_policy::reference, "Those of the process.");
}

}  // namespace

void bind_ivf_search(nb::module_& m) {
  bind_stats(m);
  m.def(
      "ivf_search",
      [](const mlx::core::array& xq, const mlx::core::array& probes, const std::optional<mlx::core::array>& centroids,
         const InvertedLists& lists, std::shared_ptr<index::Codec> codec, int64_t k, int metric, int64_t max_codes,
         bool ensure_topk_full, std::shared_ptr<index::IdSelector> selector, bool places, mlx::core::StreamOrDevice s) {
        ops::IvfLimits limits{max_codes, ensure_topk_full, 0};
        return ops::ivf_search(xq, probes, centroids, source_of(lists, codec, metric, limits, selector), k, places, s);
      },
      "xq"_a, "probes"_a, "centroids"_a.none(), "lists"_a, "codec"_a, "k"_a, "metric"_a, nb::kw_only(),
      "max_codes"_a = 0, "ensure_topk_full"_a = false, "selector"_a.none() = nb::none(), "places"_a = false,
      "stream"_a = nb::none(),
      R"(Search of inverted lists, as they are now: the ``k`` best of what each query probes.

Args:
    xq (array): queries, shape ``(nq, d)``; used as float32.
    probes (array): the lists that each looks at, shape ``(nq, nprobe)``, best first; negative ones are skipped.
    centroids (array, optional): added to the decoded codes of each list, shape ``(nlist, d)``.
    lists (InvertedLists): what is searched.
    codec (Codec): how codes are decoded.
    k (int): how many results per query, at least 1.
    metric (int): ``METRIC_L2`` (1, squared distances, ascending) or ``METRIC_INNER_PRODUCT`` (0, descending).
    max_codes (int): how many distances a query computes, at most; 0 for any number.
    ensure_topk_full (bool): ``max_codes`` is at least ``k``, and ends a search between lists only.
    selector (IdSelector, optional): which ids take part.
    places (bool): results are ``list << 32 | offset`` instead of ids.
    stream (Stream or Device, optional): where to run.

Returns:
    tuple(array, array): distances, float32, and ids, int64, both of shape ``(nq, k)``. Equal distances are ordered by
    id. Missing results have id -1 and the largest (L2) or lowest (inner product) finite float32.

Raises:
    ValueError: shapes do not match, ``k`` < 1, an unknown metric, or the stream's device has no kernel.
)");
  m.def(
      "nearest_now",
      [](const Vectors& x, const mlx::core::array& rows, int metric) {
        ops::require(rows.ndim() == 2 && rows.shape(1) == static_cast<int64_t>(x.shape(1)) &&
                         rows.dtype() == mlx::core::float32 && rows.is_available(),
                     "nearest_now", "rows must be evaluated, float32, of shape (n, ", x.shape(1), "). Received ",
                     rows.shape(), ".");
        std::vector<float> scores(x.shape(0));
        std::vector<int64_t> ids(x.shape(0));
        {
          nb::gil_scoped_release release;
          ops::nearest_now(x.data(), static_cast<int64_t>(x.shape(0)), rows,
                           ops::metric_from_int("nearest_now", metric), 1, scores.data(), ids.data());
        }
        return numpy_array(std::move(ids));
      },
      "x"_a, "rows"_a, "metric"_a, "The id of the nearest row for each vector, at once, on the calling thread.");
  m.def(
      "ivf_range_search",
      [](const Vectors& xq, const Probes& probes, const std::optional<Vectors>& centroids, const InvertedLists& lists,
         std::shared_ptr<index::Codec> codec, float radius, int metric, int64_t max_empty_result_buckets,
         std::shared_ptr<index::IdSelector> selector) {
        ops::RangeResult found;
        {
          nb::gil_scoped_release release;
          found = ops::ivf_range_search(source_of(lists, codec, metric, {0, false, max_empty_result_buckets}, selector),
                                        xq.data(), static_cast<int64_t>(xq.shape(0)), probes.data(),
                                        static_cast<int64_t>(probes.shape(1)), centroids ? centroids->data() : nullptr,
                                        radius);
        }
        return std::make_tuple(numpy_array(std::move(found.limits)), numpy_array(std::move(found.distances)),
                               numpy_array(std::move(found.ids)));
      },
      "xq"_a, "probes"_a, "centroids"_a.none(), "lists"_a, "codec"_a, "radius"_a, "metric"_a, nb::kw_only(),
      "max_empty_result_buckets"_a = 0, "selector"_a.none() = nb::none(),
      "All entries within a radius: limits (nq + 1,), distances and ids, those of a query by id.");
}

}  // namespace metalfaiss
