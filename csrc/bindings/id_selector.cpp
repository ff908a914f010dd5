#include "index/id_selector.h"

#include <nanobind/stl/shared_ptr.h>

#include "bindings/numpy_arrays.h"

namespace metalfaiss {

namespace {

using index::IdSelector;
using index::IdSelectorPtr;
using Ids = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

}  // namespace

void bind_id_selector(nb::module_& m) {
  nb::class_<IdSelector>(m, "IdSelector", "Which ids take part in a search or are removed. Immutable.")
      .def("member", &IdSelector::member, "id"_a, "Whether one id does.")
      .def(
          "members",
          [](const IdSelector& s, const Ids& ids) {
            std::vector<uint8_t> out(ids.size());
            {
              nb::gil_scoped_release release;
              s.members(ids.data(), static_cast<int64_t>(ids.size()), out.data());
            }
            return numpy_array(std::move(out));
          },
          "ids"_a, "1 for each of the ids (n,), int64, that does, else 0: (n,), uint8.")
      .def(
          "positions",
          [](const IdSelector& s, int64_t n) {
            std::vector<int64_t> found;
            {
              nb::gil_scoped_release release;
              found = s.positions(n);
            }
            return numpy_array(std::move(found));
          },
          "n"_a, "Those of 0, ..., n - 1 that do, ascending, int64.");
  m.def("select_all", [] { return index::select_all(); }, "Every id.");
  m.def(
      "select_range", [](int64_t first, int64_t last) { return index::select_range(first, last); }, "first"_a, "last"_a,
      "first <= id < last.");
  m.def(
      "select_ids", [](const Ids& ids) { return index::select_ids(ids.data(), static_cast<int64_t>(ids.size())); },
      "ids"_a, "The ids (n,), int64, in any order.");
  m.def(
      "select_bitmap",
      [](const Bytes& bytes) { return index::select_bitmap(bytes.data(), static_cast<int64_t>(bytes.size())); },
      "bytes"_a, "Bit id % 8 of byte id / 8, (n,), uint8.");
  m.def("select_not", [](IdSelectorPtr a) { return index::select_not(std::move(a)); }, "a"_a, "Those not of a.");
  m.def(
      "select_and", [](IdSelectorPtr a, IdSelectorPtr b) { return index::select_and(std::move(a), std::move(b)); },
      "a"_a, "b"_a, "Those of a and b.");
  m.def(
      "select_or", [](IdSelectorPtr a, IdSelectorPtr b) { return index::select_or(std::move(a), std::move(b)); }, "a"_a,
      "b"_a, "Those of a or b.");
  m.def(
      "select_xor", [](IdSelectorPtr a, IdSelectorPtr b) { return index::select_xor(std::move(a), std::move(b)); },
      "a"_a, "b"_a, "Those of one of a and b.");
  m.def(
      "select_translated",
      [](const Ids& map, IdSelectorPtr a) {
        auto copy = std::make_shared<const std::vector<int64_t>>(map.data(), map.data() + map.size());
        return index::select_translated(std::move(copy), std::move(a));
      },
      "map"_a, "a"_a, "Positions i for which map[i] is one of a's; map (n,), int64.");
}

}  // namespace metalfaiss
