"""gemm_av, gemm_at_b and z_step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

from metalfaiss.faissmlx.kernels.gemm_kernels import gemm_at_b, gemm_av, z_step

from .values import numpy64

__all__ = ["EPS", "OPS", "Op", "check_product", "product64", "t"]

Op = Callable[..., mx.array]

OPS: dict[str, Op] = {"gemm_av": gemm_av, "gemm_at_b": gemm_at_b, "z_step": z_step}
EPS = {mx.float32: 2.0**-24, mx.float16: 2.0**-11, mx.bfloat16: 2.0**-8}


def t(x: mx.array) -> mx.array:
    return mx.swapaxes(x, -1, -2)


def product64(op: str, a: Any, b: Any) -> tuple[Any, Any]:
    """The result in float64, and a bound of float32's error per unit roundoff: sqrt(terms) times the terms' size."""
    at = np.swapaxes(a, -1, -2)
    if op == "gemm_av":
        return a @ b, np.sqrt(a.shape[-1]) * (abs(a) @ abs(b))
    if op == "gemm_at_b":
        return at @ b, np.sqrt(a.shape[-2]) * (abs(at) @ abs(b))
    return at @ (a @ b), (np.sqrt(a.shape[-1]) + np.sqrt(a.shape[-2])) * (abs(at) @ (abs(a) @ abs(b)))


def check_product(op: str, a: mx.array, b: mx.array) -> None:
    got = OPS[op](a, b)
    assert got.dtype == mx.result_type(a, b)
    want, bound = product64(op, numpy64(a), numpy64(b))
    assert got.shape == want.shape
    rounding = 0 if got.dtype == mx.float32 else EPS[got.dtype] * abs(want) + 2.0**-24
    assert (abs(numpy64(got) - want) <= 4 * EPS[mx.float32] * bound + rounding).all()
