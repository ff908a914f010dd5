#include "ops/select_k.h"

#include <nanobind/stl/pair.h>

#include "bindings/bindings.h"

namespace metalfaiss {

void bind_select_k(nb::module_& m) {
  m.def("select_k", &ops::select_k, "x"_a, "k"_a, "largest"_a = false, "stream"_a = nb::none(),
        "select_k of an array: see metalfaiss.selection.select_k.");
}

}  // namespace metalfaiss
