"""Faults planted in metal/pairwise_distances.metal."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from metalfaiss.pairwise import pairwise_distances

from . import WRONG_RESULT, Fault


def _check(nq: int, nb: int, d: int, batch: int = 1) -> None:
    rng = np.random.default_rng(7)
    q, b = (rng.standard_normal((batch, n, d)).astype(np.float32) for n in (nq, nb))
    expected = np.square(q[:, :, None].astype(np.float64) - b[:, None]).sum(-1)
    np.testing.assert_allclose(np.array(pairwise_distances(mx.array(q), mx.array(b))), expected, rtol=1e-5)


def edges() -> None:
    _check(70, 66, 40)


def batches() -> None:
    _check(3, 5, 4, batch=3)


_BARRIER = "    threadgroup_barrier(mem_flags::mem_threadgroup);\n"
_NAME = "pairwise_distances"

FAULTS = [
    Fault("no_barriers", _NAME, _BARRIER, "", edges, r"\[race\].*(q_tile|b_tile)", 2),
    Fault("wrong_fence", _NAME, "mem_flags::mem_threadgroup", "mem_flags::mem_device", edges, r"\[race\]", 2),
    Fault("no_tail_of_rows", _NAME, "row < long(p.nq) && ", "", edges, r"\[(out of bounds|wild access|race.*)\]"),
    Fault("no_tail_of_columns", _NAME, " && column < long(p.nb)", "", edges, r"race of threadgroups"),
    Fault("no_tail_of_sums", _NAME, "bool inside = c < long(p.d);", "bool inside = true;", edges, r"out of bounds"),
    Fault("reads_a_query_more", _NAME, "r_q < long(p.nq)", "r_q <= long(p.nq)", edges, r"out of bounds.*input 0"),
    Fault("row_too_short", _NAME, "#define ROW (TILE + 1)", "#define ROW (TILE - 1)", edges, r"\[race\]|out of bounds"),
    Fault("loads_half", _NAME, "e += THREADS", "e += 2 * THREADS", edges, r"unwritten"),
    Fault("adds_no_parts", _NAME, "total[i][j] += sum[i][j];", "total[i][j] = sum[i][j];", edges, WRONG_RESULT),
    Fault("batch_offset", _NAME, "long(group.z) * p.out_batch", "0l", batches, r"race of threadgroups|never|not writ"),
]
