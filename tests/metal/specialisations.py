"""The kernels that common work runs, of which metal/specialisations.txt is the list.

Plans are asked, by calls of the public functions, whose launches are noted and not run.
``python -m tests.metal.specialisations`` writes the list.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import mlx.core as mx
from specialise import FILE, Specialisation

import metalfaiss as mf
from metalfaiss import _core
from metalfaiss.faissmlx.kernels import gemm_kernels

DTYPES = (mx.float32, mx.float16, mx.bfloat16)


def array(*shape: int, dtype: mx.Dtype) -> mx.array:
    return mx.contiguous(mx.zeros(shape, dtype))


def products(dtype: mx.Dtype) -> None:
    for m, n, k in ((512, 256, 8), (512, 256, 32), (512, 256, 64), (512, 256, 200), (20000, 64, 8), (20000, 64, 32),
                    (20000, 64, 64), (20000, 64, 128)):  # fmt: skip
        a, v, b = array(m, n, dtype=dtype), array(n, k, dtype=dtype), array(m, k, dtype=dtype)
        mx.eval(gemm_kernels.gemm_av(a, v), gemm_kernels.gemm_at_b(a, b), gemm_kernels.z_step(a, v))


def factorisations(dtype: mx.Dtype) -> None:
    for shape in ((10000, 64), (2000, 256), (256, 32), (100, 64, 16)):
        mx.eval(*_core.qr(array(*shape, dtype=dtype)))
    mx.eval(*_core.square_svd(array(32, 32, dtype=dtype)), *_core.square_svd(array(128, 128, dtype=dtype)))


def selections(dtype: mx.Dtype) -> None:
    for rows, columns, k in ((1, 100000, 10), (100, 1000, 10), (100, 1000, 100), (10, 10000, 1000), (1000, 100, 1)):
        x = array(rows, columns, dtype=dtype)
        mx.eval(*mf.select_k(x, k), *mf.select_k(x, k, largest=True))


def searches(dtype: mx.Dtype) -> None:
    for queries, k in ((1, 10), (16, 10), (16, 100), (200, 10), (200, 100)):
        xq, xb = array(queries, 64, dtype=dtype), array(5000, 64, dtype=dtype)
        for metric in (mf.METRIC_L2, mf.METRIC_INNER_PRODUCT):
            mx.eval(*mf.knn(xq, xb, k, metric), mf.pairwise_distances(xq, xb, metric))


def launches() -> dict[Specialisation, str]:
    """What the plans of today launch, and its source."""
    found: dict[Specialisation, str] = {}

    def note(steps: list[dict[str, Any]]) -> None:
        for s in steps:
            if s["step"] == "launch":
                found[Specialisation(s["family"], s["kernel"], tuple((n, v) for n, v in s["constants"]))] = s["source"]

    _core.simulate(note)
    try:
        for call in (products, factorisations, selections, searches):
            for dtype in DTYPES:
                call(dtype)
    finally:
        _core.simulate(None)
    return found


def listing(specialisations: Iterable[Specialisation]) -> str:
    """The text of metal/specialisations.txt."""
    comments = [line for line in FILE.read_text(encoding="ascii").splitlines() if line.startswith("#")]
    return "\n".join([*comments, *(s.line for s in sorted(specialisations))]) + "\n"


if __name__ == "__main__":
    FILE.write_text(listing(launches()), encoding="ascii")
