#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "bindings/bindings.h"
#include "bindings/numpy_arrays.h"
#include "index/hash_file.h"
#include "mlx/transforms.h"
#include "ops/at_once.h"
#include "ops/hamming_hash.h"

namespace metalfaiss {

namespace {

using index::HashTables;
using ops::HashCounts;
using ops::HashStats;
using HashIds = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using HashCodes = nb::ndarray<const uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using HashBytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Selector = std::shared_ptr<index::IdSelector>;
using PackedSizes = std::tuple<int64_t, int, NumpyVector<uint8_t>>;
using PackedGiven = std::tuple<uint64_t, int64_t, HashBytes>;

ops::HashSource hash_source(const std::shared_ptr<HashTables>& tables, int64_t nflip, Selector selector) {
  return {tables, tables->snapshot(), nflip, std::move(selector)};
}

// The codes of an array, computed, in one piece; empty for tables that keep their own.
std::optional<mlx::core::array> ready(const std::optional<mlx::core::array>& codes) {
  if (!codes) {
    return {};
  }
  mlx::core::array whole = mlx::core::contiguous(*codes, false, mlx::core::Device::cpu);
  mlx::core::eval(whole);
  return whole;
}

ops::StoredCodes stored(const std::optional<mlx::core::array>& codes) {
  return codes ? ops::StoredCodes{codes->data<uint8_t>(), codes->shape(0)} : ops::StoredCodes{nullptr, 0};
}

index::PackedTable packed(const PackedGiven& given) {
  const auto& [size, bits, bytes] = given;
  return {static_cast<int64_t>(size), bits, {bytes.data(), bytes.size()}};
}

template <typename T>
nb::ndarray<nb::numpy, T, nb::ndim<2>> matrix(int64_t rows, int64_t columns) {
  auto* data = new T[rows * columns];
  nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
  return {data, {static_cast<size_t>(rows), static_cast<size_t>(columns)}, owner};
}

void count(nb::class_<HashStats>& stats, const char* name, int64_t HashCounts::* field, const char* doc) {
  stats.def_prop_rw(
      name, [field](const HashStats& s) { return s.get().*field; },
      [field](HashStats& s, int64_t value) {
        HashCounts counts = s.get();
        counts.*field = value;
        s.set(counts);
      },
      doc);
}

void bind_hash_stats(nb::module_& m) {
  nb::class_<HashStats> stats(m, "IndexBinaryHashStats",
                              R"(What searches by hashes did: FAISS's ``IndexBinaryHashStats``.

``cvar.indexBinaryHash_stats`` is that of the process. Every search of ``IndexBinaryHash`` and ``IndexBinaryMultiHash``
adds to it, when it runs; threads may search at once.
)");
  stats.def(nb::init<>());
  count(stats, "nq", &HashCounts::nq, "Queries.");
  count(stats, "n0", &HashCounts::n0, "Hashes of several tables that nothing has.");
  count(stats, "nlist", &HashCounts::nlist, "Hashes that something has.");
  count(stats, "ndis", &HashCounts::ndis, "Codes that they have.");
  stats.def("reset", [](HashStats& s) { s.set({}); }, "Sets all to 0.");
  m.def("hash_stats", &ops::hash_stats, nb::rv_policy::reference, "Those of the process.");
}

void bind_hash_files(nb::class_<HashTables>& tables) {
  tables
      .def(
          "write_lists",
          [](const HashTables& tables) {
            index::HashLists made;
            {
              nb::gil_scoped_release release;
              made = index::write_hash_lists(tables);
            }
            return std::make_tuple(made.size, made.size_bits, numpy_array(std::move(made.sizes)),
                                   numpy_array(std::move(made.lists)));
          },
          "How many hashes, the bits of a size, both packed, and ids and codes: as a file has them.")
      .def(
          "write_maps",
          [](const HashTables& tables) {
            std::vector<index::HashMap> made;
            {
              nb::gil_scoped_release release;
              made = index::write_hash_maps(tables);
            }
            std::vector<PackedSizes> out;
            for (index::HashMap& map : made) {
              out.emplace_back(map.size, map.id_bits, numpy_array(std::move(map.packed)));
            }
            return out;
          },
          "For each table, how many hashes, the bits of an id, and all packed: as a file has them.")
      .def(
          "read_lists",
          [](HashTables& tables, int64_t ntotal, uint64_t size, int64_t size_bits, const HashBytes& sizes,
             const HashBytes& lists) {
            nb::gil_scoped_release release;
            index::read_hash_lists(tables, ntotal, packed({size, size_bits, sizes}), {lists.data(), lists.size()});
          },
          "ntotal"_a, "size"_a, "size_bits"_a, "sizes"_a, "lists"_a, "What ``write_lists`` wrote.")
      .def(
          "read_maps",
          [](HashTables& tables, int64_t ntotal, const std::vector<PackedGiven>& maps) {
            std::vector<index::PackedTable> given;
            for (const PackedGiven& map : maps) {
              given.push_back(packed(map));
            }
            nb::gil_scoped_release release;
            index::read_hash_maps(tables, ntotal, given);
          },
          "ntotal"_a, "maps"_a, "What ``write_maps`` wrote.");
}

}  // namespace

void bind_hash(nb::module_& m) {
  bind_hash_stats(m);
  nb::class_<HashTables> tables(
      m, "HashTables", "Codes, or their ids, by hashes. See metalfaiss.IndexBinaryHash, which checks arguments.");
  tables.def(nb::init<int64_t, int, int64_t, bool>(), "tables"_a, "bits"_a, "code_size"_a, "keeps_codes"_a)
      .def_prop_ro("ntotal", &HashTables::ntotal)
      .def("hashes", &HashTables::hashes, nb::call_guard<nb::gil_scoped_release>(),
           "How many different ones there are.")
      .def(
          "add",
          [](HashTables& tables, const HashIds& ids, const HashCodes& codes) {
            nb::gil_scoped_release release;
            tables.add(static_cast<int64_t>(ids.size()), ids.data(), codes.data());
          },
          "ids"_a, "codes"_a)
      .def("reset", &HashTables::reset)
      .def(
          "entries",
          [](const HashTables& tables) {
            auto all = tables.written();
            std::vector<std::pair<uint64_t, std::vector<int64_t>>> out;
            for (int64_t key : all.order[0]) {
              auto [begin, end] = all.segment->tables[0].run(key);
              const auto& ids = all.segment->ids[0];
              out.emplace_back(all.segment->tables[0].keys()[key],
                               std::vector<int64_t>(ids.begin() + begin, ids.begin() + end));
            }
            return out;
          },
          "The hashes of the first table and the ids of each.");
  bind_hash_files(tables);
  m.def(
      "search_hash",
      [](const mlx::core::array& xq, int64_t k, const std::shared_ptr<HashTables>& tables, int64_t nflip,
         Selector selector, const std::optional<mlx::core::array>& codes, mlx::core::StreamOrDevice s) {
        return ops::search_hash(xq, k, hash_source(tables, nflip, std::move(selector)), codes, s);
      },
      "xq"_a, "k"_a, "tables"_a, "nflip"_a, "selector"_a.none() = nb::none(), "codes"_a = nb::none(), nb::kw_only(),
      "stream"_a = nb::none(),
      R"(The codes nearest to each of ``xq`` among those with its hash, but for ``nflip`` bits.

Args:
    xq (array): queries, uint8, shape ``(nq, code_size)``.
    k (int): how many results per query, at least 1.
    tables (HashTables): searched as they are now, whatever changes them later.
    nflip (int): how many bits of a hash may differ.
    selector (IdSelector, optional): the ids that take part.
    codes (array, optional): the codes of all ids, uint8, for tables that keep none.
    stream (Stream or Device, optional): where to run; a CPU stream.

Returns:
    tuple(array, array): distances, int32, and ids, int64, both of shape ``(nq, k)``, as ``knn_hamming`` has them.
)");
  m.def(
      "search_hash_now",
      [](const HashCodes& xq, int64_t k, const std::shared_ptr<HashTables>& tables, int64_t nflip, Selector selector,
         const std::optional<mlx::core::array>& codes) {
        auto nq = static_cast<int64_t>(xq.shape(0));
        auto distances = matrix<int32_t>(nq, k);
        auto ids = matrix<int64_t>(nq, k);
        auto source = hash_source(tables, nflip, std::move(selector));
        {
          nb::gil_scoped_release release;
          auto whole = ready(codes);
          ops::Sharing sharing(nq);
          ops::search_hash(source, stored(whole), xq.data(), nq, k, distances.data(), ids.data());
        }
        return std::make_pair(distances, ids);
      },
      "xq"_a, "k"_a, "tables"_a, "nflip"_a, "selector"_a.none() = nb::none(), "codes"_a = nb::none(),
      "``search_hash`` of NumPy queries, at once: distances and ids, NumPy arrays (nq, k).");
  m.def(
      "range_search_hash",
      [](const HashCodes& xq, int64_t radius, const std::shared_ptr<HashTables>& tables, int64_t nflip,
         Selector selector, const std::optional<mlx::core::array>& codes) {
        ops::RangeResults found;
        auto source = hash_source(tables, nflip, std::move(selector));
        {
          nb::gil_scoped_release release;
          auto whole = ready(codes);
          found = ops::range_search_hash(source, stored(whole), xq.data(), static_cast<int64_t>(xq.shape(0)), radius);
        }
        return std::make_tuple(numpy_array(std::move(found.limits)), numpy_array(std::move(found.distances)),
                               numpy_array(std::move(found.ids)));
      },
      "xq"_a, "radius"_a, "tables"_a, "nflip"_a, "selector"_a.none() = nb::none(), "codes"_a = nb::none(),
      "The codes nearer than ``radius`` among those that ``search_hash`` looks at: limits, distances and ids, NumPy.");
}

}  // namespace metalfaiss
