"""Faults in the kernels of qr_gram and qr_cholesky."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np
from oracles.qr import check_contract, with_condition

from metalfaiss.faissmlx.qr import qr

from . import WRONG_RESULT, Fault


def _check(m: int, n: int, condition: float) -> None:
    a = with_condition(np.random.default_rng(6), m, n, condition)
    check_contract(a, *qr(mx.array(a)))


def one_pass() -> None:
    """Two tiles across, the second one of two columns; three blocks of the triangle."""
    _check(300, 66, 10)


def two_passes() -> None:
    _check(130, 70, 2e5)


def ill_conditioned() -> None:
    _check(130, 70, 1e10)


def _gram(name: str, old: str, new: str, expected: str, count: int = 1) -> Fault:
    return Fault(name, "qr_gram", old, new, one_pass, expected, count, multiplies=True)


def _triangle(name: str, old: str, new: str, expected: str, case: Callable[[], None] = one_pass) -> Fault:
    return Fault(name, "qr_cholesky", old, new, case, expected, multiplies=True)


_BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"
_BARRIERS = "threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);"

FAULTS = [
    _gram("slab_replaced_too_early", f"    {_BARRIER}\n    post_slab", "    post_slab", r"\[race\].*left"),
    _gram(
        "slab_read_too_early",
        f"    {_BARRIER}\n    read_slab",
        "    read_slab",
        r"\[(race|unwritten)\].*(left|other)",
    ),
    _gram("rows_of_the_next_split", "r < end && column", "r < p.rows && column", WRONG_RESULT),
    _gram("rows_beyond_the_matrix", "r < end && column", "column", "bounds.*input 0"),
    _gram("columns_beyond_the_matrix", "r < end && column < p.columns", "r < end", "bounds.*input 0"),
    _gram("one_split_is_missed", "s < p.splits; s +=", "s < p.splits - 1; s +=", WRONG_RESULT),
    _gram(
        "sums_added_too_early", f"  {_BARRIER}\n  if (simd > 0)", "  if (simd > 0)", r"\[(race|unwritten)\].*partial"
    ),
    _gram(
        "sums_beyond_the_triangle",
        "row <= column && column < p.columns) {\n    g",
        "row <= column) {\n    g",
        "bounds|race",
    ),
    _gram(
        "rows_of_q_beyond_the_end",
        "row < p.rows && column < n) {\n      q",
        "column < n) {\n      q",
        "bounds.*output 0",
    ),
    _gram("tiles_of_a_read_too_early", f"    {_BARRIER}\n    read_rows", "    read_rows", r"\[(race|unwritten)\]"),
    _gram("triangle_below_the_diagonal", "row <= column && column < n ? x", "column < n ? x", "unwritten|bounds"),
    _triangle(
        "rows_above_read_too_early",
        f"    {_BARRIERS}\n    if (simd == 0) {{",
        "    if (simd == 0) {",
        r"\[(race|unwritten)\]",
    ),
    _triangle(
        "block_read_too_early",
        f"    {_BARRIER}\n    goes_on = is_good;",
        "    goes_on = is_good;",
        r"\[(race|unwritten)\].*(block|inverses|is_good)",
    ),
    _triangle(
        "next_block_before_this_is_solved",
        f"    }}\n    {_BARRIERS}\n  }}\n  if (index == 0) {{\n    decisions",
        "    }\n  }\n  if (index == 0) {\n    decisions",
        r"\[(race|unwritten)\]",
    ),
    _triangle(
        "row_read_before_it_is_posted",
        "    simdgroup_barrier(mem_flags::mem_threadgroup);\n    eliminate",
        "    eliminate",
        r"\[(race|unwritten)\].*block",
    ),
    _triangle(
        "zeros_of_r_forgotten",
        "column = int(lane); column < n; column += BLOCK",
        "column = row + int(lane); column < n; column += BLOCK",
        "unwritten output.*output 1",
    ),
    _triangle(
        "nothing_decided", "    decisions[QR_FAILS] = !goes_on;\n", "", r"\[unwritten\].*guards it", ill_conditioned
    ),
    _triangle("one_pass_always", "= loss > ONE_PASS && loss <= TWO_PASSES", "= 0", WRONG_RESULT, two_passes),
    _triangle("order_of_triangles", "left = is_x ? x1 : r2;", "left = is_x ? x1 : r1;", WRONG_RESULT, two_passes),
]
