"""Faults in the kernel of z_step in pairs of float16 (metal/z_step_half.metal)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

from metalfaiss.faissmlx.kernels.gemm_kernels import z_step

from . import WRONG_RESULT, Fault

__all__ = ["FAULTS"]

Array = np.ndarray[Any, Any]


def _numbers(m: int, n: int, k: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(7)
    return rng.standard_normal((m, n), dtype=np.float32), rng.standard_normal((n, k), dtype=np.float32)


def _check(a: Array, v: Array) -> None:
    wide_a, wide_v = a.astype(np.float64), v.astype(np.float64)
    want, size = wide_a.T @ (wide_a @ wide_v), abs(wide_a).T @ (abs(wide_a) @ abs(wide_v))
    got = np.array(z_step(mx.array(a), mx.array(v)))
    assert (abs(got - want) <= 1e-6 * size).all(), "not within float32's bound"


def pipeline() -> None:
    """Slabs of eight panels, five simdgroups in each half."""
    a, v = _numbers(300, 260, 9)
    _check(a, v)


def hidden() -> None:
    """A column of the result that small numbers of A alone make."""
    a, v = np.zeros((150, 8), np.float32), np.zeros((8, 2), np.float32)
    a[:, ::2], a[:, 1], v[1] = 1, 2.0**-33 / 3, 1
    _check(a, v)


def of_v() -> None:
    """A result that small numbers of V alone make."""
    a, v = _numbers(100, 8, 2)
    a[:, 0], v[:], v[0], v[3] = 0, 0, 1, 1e-14 / 3
    _check(a, v)


def _fault(name: str, old: str, new: str, case: Callable[[], None], expected: str = WRONG_RESULT) -> Fault:
    return Fault(name, "z_step_half", old, new, case, expected, multiplies=True)


_BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"

FAULTS = [
    _fault("half_no_barrier_of_panels", f"{_BARRIER}\n    slot = ", "slot = ", pipeline, r"race.*memory"),
    _fault("half_four_panels", "#define PANELS 5", "#define PANELS 4", pipeline, r"race.*memory"),
    _fault("half_one_place_of_parts", "parts + ((i & 1) * SIMDS", "parts + (0 * SIMDS", pipeline, r"race.*memory"),
    _fault("half_small_numbers_not_seen", "if (least < limit) {", "if (false) {", hidden),
    _fault("half_left_out_panels_forgotten", "i < left_out;", "i < 0;", hidden),
    _fault("half_small_numbers_of_v", "is_small(left, SMALLEST) || is_small(right, SMALLEST)", "false", of_v),
]
