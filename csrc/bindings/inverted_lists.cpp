#include "index/inverted_lists.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/vector.h>

#include "bindings/bindings.h"
#include "bindings/numpy_arrays.h"
#include "index/direct_map.h"
#include "index/equal_entries.h"
#include "index/id_selector.h"
#include "index/lists_view.h"

namespace metalfaiss {

namespace {

using index::DirectMap;
using index::InvertedList;
using index::InvertedLists;
using Ids = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Codes = nb::ndarray<const uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// Keeps the memory of a list that an array shows.
nb::capsule keeper(const InvertedList& list) {
  return nb::capsule(new InvertedList(list), [](void* p) noexcept { delete static_cast<InvertedList*>(p); });
}

std::vector<int64_t> sizes(const InvertedLists& lists) {
  std::vector<int64_t> out;
  for (const InvertedList& list : *lists.snapshot()) {
    out.push_back(list.size);
  }
  return out;
}

void bind_view(nb::module_& m) {
  using index::ListsView;
  using index::ListsViewKind;
  nb::class_<ListsView> view(m, "ListsView", "See metalfaiss.inverted_list_views, which checks the arguments.");
  nb::enum_<ListsViewKind>(view, "Kind")
      .value("hstack", ListsViewKind::hstack)
      .value("vstack", ListsViewKind::vstack)
      .value("slice", ListsViewKind::slice)
      .value("masked", ListsViewKind::masked)
      .value("stop_words", ListsViewKind::stop_words)
      .value("capped", ListsViewKind::capped);
  view.def(nb::init<ListsViewKind, int64_t, int64_t>(), "kind"_a, "first"_a = 0, "last"_a = 0)
      .def("of", &ListsView::of, "parts"_a, nb::call_guard<nb::gil_scoped_release>());
}

}  // namespace

void bind_inverted_lists(nb::module_& m) {
  bind_view(m);
  nb::class_<InvertedLists>(m, "InvertedLists", "See metalfaiss.ArrayInvertedLists, which checks the arguments.")
      .def(nb::init<int64_t, int64_t>(), "nlist"_a, "code_size"_a)
      .def_prop_ro("nlist", &InvertedLists::nlist)
      .def_prop_ro("code_size", &InvertedLists::code_size)
      .def(
          "copy", [](const InvertedLists& lists) { return new InvertedLists(lists); }, nb::rv_policy::take_ownership)
      .def(
          "list_size", [](const InvertedLists& lists, int64_t list) { return lists.list(list).size; }, "list_no"_a)
      .def("sizes", [](const InvertedLists& lists) { return numpy_array(sizes(lists)); })
      .def(
          "get_ids",
          [](const InvertedLists& lists, int64_t list) {
            InvertedList l = lists.list(list);
            return nb::ndarray<nb::numpy, const int64_t, nb::ndim<1>>(l.ids(), {static_cast<size_t>(l.size)},
                                                                      keeper(l));
          },
          "list_no"_a)
      .def(
          "get_codes",
          [](const InvertedLists& lists, int64_t list) {
            InvertedList l = lists.list(list);
            return nb::ndarray<nb::numpy, const uint8_t, nb::ndim<2>>(
                l.codes(), {static_cast<size_t>(l.size), static_cast<size_t>(lists.code_size())}, keeper(l));
          },
          "list_no"_a)
      .def(
          "add",
          [](InvertedLists& lists, const Ids& assign, const Ids& ids, const Codes& codes) {
            std::vector<int64_t> places(ids.size());
            {
              nb::gil_scoped_release release;
              lists.add(static_cast<int64_t>(ids.size()), assign.data(), ids.data(), codes.data(), places.data());
            }
            return numpy_array(std::move(places));
          },
          "assign"_a, "ids"_a, "codes"_a)
      .def(
          "add_entries",
          [](InvertedLists& lists, int64_t list, const Ids& ids, const Codes& codes) {
            lists.add_entries(list, static_cast<int64_t>(ids.size()), ids.data(), codes.data());
          },
          "list_no"_a, "ids"_a, "codes"_a)
      .def(
          "update_entries",
          [](InvertedLists& lists, int64_t list, int64_t offset, const Ids& ids, const Codes& codes) {
            lists.update_entries(list, offset, static_cast<int64_t>(ids.size()), ids.data(), codes.data());
          },
          "list_no"_a, "offset"_a, "ids"_a, "codes"_a)
      .def("resize", &InvertedLists::resize, "list_no"_a, "new_size"_a)
      .def("reset", &InvertedLists::reset)
      .def("merge_from", &InvertedLists::merge_from, "other"_a, "add_id"_a, nb::call_guard<nb::gil_scoped_release>())
      .def(
          "remove",
          [](InvertedLists& lists, const index::IdSelector& selector) {
            nb::gil_scoped_release release;
            return lists.remove([&](const int64_t* ids, int64_t n, uint8_t* out) { selector.members(ids, n, out); });
          },
          "selector"_a)
      .def("remove_at", &InvertedLists::remove_at, "list_no"_a, "offset"_a)
      .def(
          "permute", [](InvertedLists& lists, const Ids& order) { lists.permute(order.data()); }, "order"_a)
      .def("compute_ntotal", &InvertedLists::compute_ntotal);
  m.def(
      "equal_entries",
      [](const InvertedLists& lists, const Ids& assign, const Ids& ids, const Codes& codes) {
        index::EqualEntries found;
        {
          nb::gil_scoped_release release;
          found =
              index::equal_entries(lists, static_cast<int64_t>(ids.size()), assign.data(), ids.data(), codes.data());
        }
        return std::make_pair(numpy_array(std::move(found.again)), numpy_array(std::move(found.ids)));
      },
      "lists"_a, "assign"_a, "ids"_a, "codes"_a,
      "Of each new entry: whether its list, or an entry before it, has its code (uint8); and under which id first.");
  nb::class_<DirectMap>(m, "DirectMap", "See metalfaiss.DirectMap.")
      .def(nb::init<>())
      .def_prop_ro("type", [](const DirectMap& map) { return static_cast<int>(map.type()); })
      .def(
          "set_type",
          [](DirectMap& map, int type, const InvertedLists& lists, int64_t ntotal) {
            DirectMap made;
            {
              nb::gil_scoped_release release;
              made.set_type(static_cast<DirectMap::Type>(type), lists, ntotal);
            }
            map = std::move(made);  // under Python's lock, as all who read a map
          },
          "type"_a, "lists"_a, "ntotal"_a)
      .def(
          "get",
          [](const DirectMap& map, const Ids& ids) {
            std::vector<int64_t> out(ids.size());
            for (size_t i = 0; i < ids.size(); i++) {
              out[i] = map.get(ids.data()[i]);
            }
            return numpy_array(std::move(out));
          },
          "ids"_a)
      .def(
          "add",
          [](DirectMap& map, const Ids& ids, const Ids& places) {
            map.add(static_cast<int64_t>(ids.size()), ids.data(), places.data());
          },
          "ids"_a, "places"_a)
      .def("set", &DirectMap::set, "id"_a, "place"_a)
      .def("erase", &DirectMap::erase, "id"_a)
      .def("clear", &DirectMap::clear)
      .def("array", [](DirectMap& map) { return numpy_array(map.array()); })
      .def("pairs",
           [](DirectMap& map) {
             std::vector<int64_t> flat;
             for (const auto& [id, place] : map.hashtable()) {
               flat.insert(flat.end(), {id, place});
             }
             return numpy_array(std::move(flat));
           })
      .def(
          "restore",
          [](DirectMap& map, int type, const Ids& array, const Ids& pairs) {
            std::unordered_map<int64_t, int64_t> hashtable;
            hashtable.reserve(pairs.size() / 2);  // as FAISS does: the entries then come out in the same order
            for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
              hashtable[pairs.data()[i]] = pairs.data()[i + 1];
            }
            map.restore(static_cast<DirectMap::Type>(type), {array.data(), array.data() + array.size()},
                        std::move(hashtable));
          },
          "type"_a, "array"_a, "pairs"_a);
}

}  // namespace metalfaiss
