"""Faults in the kernel of square_svd (metal/square_svd.metal)."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from metalfaiss._core import square_svd

from . import WRONG_RESULT, Fault

__all__ = ["FAULTS"]


def _check(a: np.ndarray) -> None:
    u, s, vt = (np.array(x) for x in square_svd(mx.array(a)))
    np.testing.assert_allclose(s, np.linalg.svd(a.astype(np.float64), compute_uv=False), atol=1e-5 * max(s))
    for q in (u, vt.T):
        np.testing.assert_allclose(q.T @ q, np.eye(len(a)), atol=1e-5)
    np.testing.assert_allclose((u * s) @ vt, a, atol=1e-4)


def full() -> None:
    _check(np.random.default_rng(0).standard_normal((18, 18)).astype(np.float32))


def rank_two() -> None:
    left, right = np.random.default_rng(1).standard_normal((2, 11, 2)).astype(np.float32)
    a = left @ right.T
    a[:, 3:] = 0
    _check(a)


_BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);"
_ROUND = "worst = max(worst, meet(x, w, round, simd, lane));\n      "

FAULTS = [
    Fault("no_barrier_after_a_round", "square_svd", _ROUND + _BARRIER, _ROUND, full, "race.*scratch"),
    Fault("a_block_stays", "square_svd", "place == 0 ? 0", "place <= 1 ? place", full, "race.*scratch"),
    Fault(
        "a_block_too_few",
        "square_svd",
        "round < BLOCKS - 1; round++",
        "round < BLOCKS - 2; round++",
        full,
        WRONG_RESULT,
    ),
    Fault("no_rows_completed", "square_svd", "row = valid; row < n", "row = n; row < n", rank_two, "unwritten"),
    Fault("other_sense", "square_svd", "b[i] = fma(s, fma(", "b[i] = fma(-s, fma(", full, WRONG_RESULT),
]
