#include "ops/gemm.h"

#include "bindings/bindings.h"

namespace metalfaiss {

void bind_gemm(nb::module_& m) {
  m.def("gemm_av", &ops::gemm_av, "A"_a, "V"_a, nb::kw_only(), "stream"_a = nb::none(),
        R"(``A V``, a tall matrix times a skinny one.

Args:
    A (array): shape ``(..., m, n)``; float32, float16 or bfloat16, any strides.
    V (array): shape ``(..., n, k)``; batch dimensions broadcast with those of ``A``.
    stream (Stream or Device, optional): where to run.

Returns:
    array: shape ``(..., m, k)``, of the promoted dtype, accumulated in float32.

Raises:
    ValueError: the inner dimensions differ, or the stream's device has no kernel.
    TypeError: an input is complex or float64.
)");
  m.def("gemm_at_b", &ops::gemm_at_b, "A"_a, "B"_a, nb::kw_only(), "stream"_a = nb::none(),
        R"(``A^T B``, contracting the long dimension of two tall matrices.

Args:
    A (array): shape ``(..., m, n)``; float32, float16 or bfloat16, any strides.
    B (array): shape ``(..., m, k)``; batch dimensions broadcast with those of ``A``.
    stream (Stream or Device, optional): where to run.

Returns:
    array: shape ``(..., n, k)``, of the promoted dtype, accumulated in float32.

Raises:
    ValueError: the numbers of rows differ, or the stream's device has no kernel.
    TypeError: an input is complex or float64.
)");
  m.def("z_step", &ops::z_step, "A"_a, "V"_a, nb::kw_only(), "stream"_a = nb::none(),
        R"(``A^T (A V)`` in one pass over ``A``: a step of subspace iteration on ``A^T A``.

Args:
    A (array): shape ``(..., m, n)``; float32, float16 or bfloat16, any strides.
    V (array): shape ``(..., n, k)``; batch dimensions broadcast with those of ``A``.
    stream (Stream or Device, optional): where to run.

Returns:
    array: shape ``(..., n, k)``, of the promoted dtype. ``A V`` is held in float32, never rounded to float16.

Raises:
    ValueError: the inner dimensions differ, or the stream's device has no kernel.
    TypeError: an input is complex or float64.
)");
}

}  // namespace metalfaiss
