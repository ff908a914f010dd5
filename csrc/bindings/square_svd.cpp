#include "ops/square_svd.h"

#include <nanobind/stl/tuple.h>

#include "bindings/bindings.h"

namespace metalfaiss {

void bind_square_svd(nb::module_& m) {
  m.def("square_svd", &ops::square_svd, "A"_a, nb::kw_only(), "stream"_a = nb::none(),
        R"(SVD of small square matrices, ``A = U diag(S) Vt``; for :func:`metalfaiss.faissmlx.svd.topk_svd`.

On a GPU one-sided Jacobi rotations, for up to 128 rows: ``U`` and ``Vt`` are orthonormal to 1e-5 for every finite
matrix, and the largest singular values are those of float64 to 1e-5 relative. A matrix with a NaN or an infinity gives
NaN. On a CPU stream, and for more rows, ``mx.linalg.svd`` on the CPU. It has no derivatives.

Args:
    A (array): shape ``(..., n, n)``; float32, float16 or bfloat16.
    stream (Stream or Device, optional): where to run.

Returns:
    tuple(array, array, array): ``U`` ``(..., n, n)``, ``S`` ``(..., n)`` in descending order, ``Vt`` ``(..., n, n)``,
    float32.

Raises:
    ValueError: ``A`` is not square, or the stream's device has no kernel.
    TypeError: ``A`` is complex or float64.

Source: Z. Drmac, K. Veselic: New fast and accurate Jacobi SVD algorithm I. SIAM J. Matrix Anal. Appl. 29 (2008).
)");
}

}  // namespace metalfaiss
