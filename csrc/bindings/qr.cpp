#include "ops/qr.h"

#include <nanobind/stl/pair.h>

#include "bindings/bindings.h"

namespace metalfaiss {

void bind_qr(nb::module_& m) {
  m.def("qr", &ops::qr, "A"_a, nb::kw_only(), "stream"_a = nb::none(),
        R"(Thin QR: ``A = Q R``, ``Q`` orthonormal, ``R`` upper triangular with a diagonal that is not negative.

``Q`` is orthonormal for every finite ``A``, rank-deficient and zero matrices included. A wide matrix (m < n) is factored
by its first m columns. The same input gives the same bits, whatever the number of threads.

Derivatives need full column rank (of the first m columns where m < n): they divide by ``R``.

Args:
    A (array): shape ``(..., m, n)``; float32, float16 or bfloat16, any strides. Computed in float32 or better.
    stream (Stream or Device, optional): where to run.

Returns:
    tuple(array, array): ``Q`` of shape ``(..., m, k)`` and ``R`` of shape ``(..., k, n)``, ``k = min(m, n)``, of the
    promoted dtype. In float32 ``max |Q^T Q - I| <= 1e-5`` and ``|A - Q R| <= 1e-6 sqrt(n) |A|`` (Frobenius). Where
    the first k columns of a matrix hold a NaN or an infinity, its ``Q`` and ``R`` are NaN.

Raises:
    ValueError: ``A`` has fewer than 2 dimensions, or the stream's device has no kernel.
    TypeError: ``A`` is complex or float64.

Source: Cholesky QR in float64, one or two passes as the conditioning asks (Fukaya et al., SIAM J. Sci. Comput. 42,
2020); where that is not accurate enough, blocked Householder reflections in a tree of row chunks (Demmel et al., SIAM J.
Sci. Comput. 34, 2012).
)");
}

}  // namespace metalfaiss
