#include "ops/hamming.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/tuple.h>

#include "bindings/bindings.h"
#include "ops/hamming_lists.h"

namespace metalfaiss {

void bind_hamming(nb::module_& m) {
  m.def("knn_hamming", &ops::knn_hamming, "xq"_a, "xb"_a, "k"_a, "rows"_a = nb::none(), nb::kw_only(),
        "stream"_a = nb::none(),
        R"(Exact search by Hamming distance: the ``k`` nearest rows of ``xb`` for every row of ``xq``.

Args:
    xq (array): queries, uint8, shape ``(..., nq, bytes)``.
    xb (array): codes, uint8, shape ``(..., nb, bytes)``. Batch dimensions broadcast with those of ``xq``.
    k (int): how many results per query, at least 1.
    rows (array, optional): int64, ascending, shape ``(m,)``: the rows of ``xb`` to search. They are not checked.
    stream (Stream or Device, optional): where to run; a CPU stream.

Returns:
    tuple(array, array): distances, int32, and ids, int64, both of shape ``(..., nq, k)``. Equal distances are ordered
    by id. Missing results have id -1 and distance 2^31 - 1.

Raises:
    ValueError: shapes do not match, ``k`` < 1, or the stream is a GPU's.
    TypeError: an input is not uint8.
)");
  m.def("hammings", &ops::hammings, "xq"_a, "xb"_a, nb::kw_only(), "stream"_a = nb::none(),
        R"(The Hamming distance of every row of ``xq`` to every row of ``xb``: int32, shape ``(..., nq, nb)``.

Args:
    xq (array): uint8, shape ``(..., nq, bytes)``.
    xb (array): uint8, shape ``(..., nb, bytes)``.
    stream (Stream or Device, optional): where to run; a CPU stream.
)");
  m.def("range_search_hamming", &ops::range_search_hamming, "xq"_a, "xb"_a, "radius"_a, "rows"_a = nb::none(),
        nb::call_guard<nb::gil_scoped_release>(),
        R"(The rows of ``xb`` nearer than ``radius`` to each row of ``xq``. Runs at once, on the CPU.

Returns:
    tuple(array, array, array): where the results of each query begin, int64, shape ``(nq + 1,)``; their distances,
    float32; their ids, int64, ascending within a query.
)");
  using index::IdSelector;
  using index::InvertedLists;
  m.def(
      "search_hamming_lists",
      [](const mlx::core::array& xq, const mlx::core::array& probes, int64_t k, const InvertedLists& lists,
         const std::shared_ptr<const IdSelector>& selector, int64_t max_codes, mlx::core::StreamOrDevice s) {
        return ops::search_hamming_lists(xq, probes, k, {lists.snapshot(), lists.code_size(), selector, max_codes}, s);
      },
      "xq"_a, "probes"_a, "k"_a, "lists"_a, "selector"_a = nb::none(), "max_codes"_a = 0, nb::kw_only(),
      "stream"_a = nb::none(),
      R"(The codes nearest to each of ``xq`` in the inverted lists that ``probes`` names.

Args:
    xq (array): queries, uint8, shape ``(nq, code_size)``.
    probes (array): int64, shape ``(nq, nprobe)``; negative ones name no list.
    k (int): how many results per query, at least 1.
    lists (InvertedLists): searched as they are now, whatever changes them later.
    selector (IdSelector, optional): the ids that take part.
    max_codes (int): how many codes a query is compared with at most; 0 for any.
    stream (Stream or Device, optional): where to run; a CPU stream.

Returns:
    tuple(array, array): distances, int32, and ids, int64, both of shape ``(nq, k)``, as ``knn_hamming`` has them.
)");
  m.def(
      "range_search_hamming_lists",
      [](const mlx::core::array& xq, const mlx::core::array& probes, int64_t radius, const InvertedLists& lists,
         const std::shared_ptr<const IdSelector>& selector, int64_t max_codes) {
        return ops::range_search_hamming_lists(xq, probes, radius,
                                               {lists.snapshot(), lists.code_size(), selector, max_codes});
      },
      "xq"_a, "probes"_a, "radius"_a, "lists"_a, "selector"_a = nb::none(), "max_codes"_a = 0,
      nb::call_guard<nb::gil_scoped_release>(),
      "The codes nearer than ``radius``: as ``range_search_hamming`` has them. Runs at once, on the CPU.");
}

}  // namespace metalfaiss
