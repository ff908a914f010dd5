"""Faults in the kernels of qr and qr_blocked."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np

from metalfaiss.faissmlx.qr import qr

from . import WRONG_RESULT, Fault


def _check(*shape: int) -> None:
    a = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    q, r = (np.array(x).astype(np.float64) for x in qr(mx.array(a)))
    assert np.abs(q.swapaxes(-1, -2) @ q - np.eye(q.shape[-1])).max() <= 1e-5, "Q is not orthonormal"
    assert np.abs(a - q @ r).max() <= 1e-4, "Q R is not A"
    assert (np.diagonal(r, axis1=-2, axis2=-1) >= 0).all(), "R has a negative diagonal"
    assert (np.tril(r, -1) == 0).all(), "R is not a triangle"


def simdgroup() -> None:
    """Two matrices, each of one simdgroup."""
    _check(2, 63, 15)


def threadgroup() -> None:
    """A matrix of two simdgroups, the last rows of which are nobody's."""
    _check(70, 15)


def tree() -> None:
    """Two leaves, the second one with fewer rows than columns."""
    _check(1030, 10)


def panels() -> None:
    """Two panels, the second one of one column."""
    _check(66, 65)


def _tree(
    name: str, old: str, new: str, expected: str, case: Callable[[], None] = threadgroup, count: int = 1
) -> Fault:
    return Fault(name, "qr", old, new, case, expected, count)


def _panel(name: str, old: str, new: str, expected: str) -> Fault:
    return Fault(name, "qr_blocked", old, new, panels, expected)


_BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"
_SIMD_BARRIER = "simdgroup_barrier(mem_flags::mem_threadgroup);"

FAULTS = [
    _tree(
        "column_read_before_it_is_posted",
        f"    {_SIMD_BARRIER}\n    float d[COLS];",
        "    float d[COLS];",
        r"\[race\].*x",
    ),
    _tree(
        "pivot_read_before_it_is_replaced",
        f"    {_SIMD_BARRIER}\n    subtract",
        "    subtract",
        r"\[race\].*x\[above\]",
    ),
    _tree(
        "pivot_replaced_too_early",
        f"    {_SIMD_BARRIER}\n    return;",
        "    return;",
        r"\[race\].*x\[above\]",
        simdgroup,
    ),
    _tree(
        "sums_read_too_early",
        f"  {_BARRIER}\n#pragma unroll\n  for (int b = 0; b < COLS; b++) {{\n    d[b] = 0.0f;",
        "#pragma unroll\n  for (int b = 0; b < COLS; b++) {\n    d[b] = 0.0f;",
        r"\[race\].*sums",
    ),
    _tree("one_buffer", "const int turn = k & 1;", "const int turn = 0;", r"\[race\]"),
    _tree(
        "wrong_fence",
        f"  {_BARRIER}\n#pragma unroll\n  for (int b = 0; b < COLS; b++) {{\n    float size = 0.0f;\n    for",
        "  threadgroup_barrier(mem_flags::mem_device);\n#pragma unroll\n  for (int b = 0; b < COLS; b++) {\n"
        "    float size = 0.0f;\n    for",
        r"\[race\].*sizes",
    ),
    _tree(
        "rows_beyond_the_matrix", "at.row + i < rows && column < p.columns", "column < p.columns", r"bounds.*input 0"
    ),
    _tree(
        "columns_beyond_q",
        "if (row < rows && column < columns) {\n        q[",
        "if (row < rows) {\n        q[",
        r"output 0",
    ),
    _tree(
        "triangle_not_cleared",
        "      if (row < columns && column < columns) {",
        "      if (row <= column && column < columns) {",
        r"\[unwritten output\].*output 1",
    ),
    _tree(
        "diagonal_not_posted",
        "row < p.columns && row >= column",
        "row < p.columns && row > column",
        r"unwritten.*square",
    ),
    _tree("groups_not_added", "d[b] += simd_shuffle_xor(d[b], ushort(offset));", "", WRONG_RESULT, simdgroup),
    _tree("signs_of_q_forgotten", "acc[i] * sign[i % COLS]", "acc[i]", WRONG_RESULT, simdgroup),
    _tree(
        "reflector_of_length_one",
        "const float root = sqrt(tau);",
        "const float root = sqrt(0.5f * tau);",
        WRONG_RESULT,
        simdgroup,
    ),
    _tree(
        "some_leave_before_a_barrier",
        "  solve_gram(columns, square, mix, index, threads);\n  q += matrix",
        "  if (at.row >= rows) {\n    return;\n  }\n  solve_gram(columns, square, mix, index, threads);\n  q += matrix",
        r"barrier",
    ),
    _tree(
        "some_lanes_shuffle",
        "const float square = simd_shuffle(k < LANES ? d[0] : d[COLS - 1], ushort(k % LANES));",
        "float square = d[0];\n    if (at.column > k) {\n      square = simd_shuffle(d[0], ushort(k));\n    }",
        r"simd_shuffle",
        simdgroup,
    ),
    _tree(
        "rows_solved_out_of_turn",
        f"    {_BARRIER}\n    if (index < columns) {{",
        "    if (index < columns) {",
        r"\[race\].*mix",
    ),
    _tree(
        "columns_of_half_the_room",
        "return 2 * simds * GROUPS * COLUMN_ROWS;",
        "return simds * GROUPS * COLUMN_ROWS;",
        r"\[race\]",
    ),
    _tree(
        "triangles_read_whole",
        "column < p.columns && column >= above",
        "column < p.columns",
        r"unwritten.*scratch 0",
        tree,
    ),
    _tree("leaves_overlap", "* p.leaf_rows;", "* (p.leaf_rows - 1);", r"\[race\]|output 0", tree),
    _tree(
        "block_of_another_leaf",
        "parents + leaf.index * columns",
        "parents + (leaf.index + 1) * columns",
        r"bounds.*scratch 1",
        tree,
    ),
    _panel("slab_read_too_early", f"    {_BARRIER}\n    float4 part[4];", "    float4 part[4];", r"\[race\]"),
    _panel("rows_beyond_the_split", "r < end && i < p.width", "i < p.width", r"bounds.*v"),
    _panel(
        "panel_changed_under_its_readers",
        "threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);",
        _BARRIER,
        r"\[race\].*qr_reconstruct.*v\[",
    ),
    _panel(
        "no_end_of_q",
        "  if (matrix >= p.matrices) {\n    return;\n  }\n  signs += matrix * p.columns;\n"
        "  const float last = signs[p.columns - 1];\n  q[entry]",
        "  signs += matrix * p.columns;\n  const float last = signs[p.columns - 1];\n  q[entry]",
        r"bounds",
    ),
    _panel(
        "columns_beyond_the_update",
        "if (row < p.rows && column + j < p.columns)",
        "if (row < p.rows)",
        r"bounds|\[race\]",
    ),
    _panel("wrong_signs_of_k", "k[e] = -sign[", "k[e] = sign[", WRONG_RESULT),
    _panel("reflector_not_transposed", "p.transposed ? uint(l", "!p.transposed ? uint(l", WRONG_RESULT),
]
