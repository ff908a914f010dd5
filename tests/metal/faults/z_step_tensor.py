"""Faults in the kernel of z_step on tensor cores (metal/z_step_tensor.metal)."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np

from metalfaiss.faissmlx.kernels.gemm_kernels import z_step

from . import WRONG_RESULT, Fault

__all__ = ["FAULTS"]


def slabs() -> None:
    """Two simdgroups, slabs of several panels, a last row alone; edges everywhere. A number of V that
    float16 cannot hold beside the others has z_step_half leave every slab to this kernel."""
    rng = np.random.default_rng(7)
    a, v = (rng.standard_normal(shape).astype(np.float32) for shape in ((545, 68), (68, 9)))
    v[5, 1] = 1e-12 / 3
    want = a.astype(np.float64).T @ (a.astype(np.float64) @ v)
    np.testing.assert_allclose(np.array(z_step(mx.array(a), mx.array(v))), want, atol=1e-6 * abs(want).max())


def infinity() -> None:
    """Infinite sums, which tensor cores make NaN."""
    a, v = np.ones((40, 12), np.float32), np.ones((12, 3), np.float32)
    v[1, 2] = np.inf
    got = np.array(z_step(mx.array(a), mx.array(v)))
    assert (got[:, 2] == np.inf).all(), "not infinite"
    assert (got[:, :2] == 480).all(), "not finite"


_BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"
_PARTS = "parts + at.simd * PART, at);\n    "
_Y = "add_parts(parts, y, thread_index);\n    "
_FLAGS = "\n  bool all_finite"


def _fault(name: str, old: str, new: str, expected: str, case: Callable[[], None] = slabs) -> Fault:
    return Fault(name, "z_step_tensor", old, new, case, expected, multiplies=True)


FAULTS = [
    _fault("no_barrier_before_the_sum_of_parts", _PARTS + _BARRIER, _PARTS, r"\[(race|unwritten)\]"),
    _fault("no_barrier_after_y", _Y + _BARRIER, _Y, r"\[(race|unwritten)\]"),
    _fault("no_barrier_before_flags", _BARRIER + _FLAGS, _FLAGS, r"\[race\]"),
    _fault("v_beyond_its_rows", "row < p.rows && column < p.columns ? v[", "column < p.columns ? v[", "input 1"),
    _fault("rows_of_the_next_slab", "int(min(end - first, long(PANEL)))", "PANEL", "out of bounds.*input 0"),
    _fault("sums_in_one_place", "output_matrix(out, p, slab,", "output_matrix(out, p, 0,", "race of threadgroups"),
    _fault("columns_beyond_the_sum", "place.x < p.rows && place.y < p.columns", "place.x < p.rows", "race|out of"),
    _fault("one_panel_for_both", "turn = 1 - turn;", "", WRONG_RESULT),
    _fault("low_parts_of_y_are_lost", "y_low[i] = from[2 * Y_STEP];", "y_low[i] = 0.0f;", WRONG_RESULT),
    _fault("nan_for_infinity", "if (not_finite > 0.0f) {", "if (false) {", WRONG_RESULT, infinity),
]
