"""Faults in the kernel of z_step (metal/z_step.metal)."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from metalfaiss.faissmlx.kernels.gemm_kernels import z_step

from . import WRONG_RESULT, Fault

__all__ = ["FAULTS"]

Array = np.ndarray


def _check(m: int, n: int, k: int, infinite: bool = False) -> None:
    rng = np.random.default_rng(7)
    a, v = rng.standard_normal((m, n), dtype=np.float32), rng.standard_normal((n, k), dtype=np.float32)
    if infinite:
        v[1], a[:, 1] = np.inf, abs(a[:, 1]) + 1  # A V is plus infinity, A^T (A V) an infinity of A's sign
        a[:, 0] = 1
    got = np.array(z_step(mx.array(a), mx.array(v)))
    if infinite:
        assert (got[:2] == np.inf).all(), "not infinite"
        return
    want = a.T @ (a @ v)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3 * abs(want).max())


def one_chunk() -> None:
    """Fewer columns of V than simdgroups could share; several panels a threadgroup."""
    _check(1100, 21, 3)


def chunks() -> None:
    """Three chunks of a specialisation for four, edges everywhere."""
    _check(70, 150, 19)


def infinity() -> None:
    """A panel that ends early, and an infinite V."""
    _check(37, 9, 12, infinite=True)


_BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"
_PHASE_1 = "for (int c = 0; c < chunks; c++) {\n      "
_MULTIPLY = "if (y_column < Z_K) {\n        multiply_blocks("
_PHASE_2 = "if (c != chunks - 1) {\n        "
_SUM = "#pragma unroll\n      for (int i = 0; i < CHUNKS; i++) {"
_Y = "store_blocks(y, 1, Y_BLOCKS, yt + y_row * STRIDE_K + y_column, STRIDE_K);\n    }\n    "
_STORE_Y = "\n    if (y_column < Z_K) {\n      store_blocks("
_RESULT = "\n  device O* z = output_matrix("
_STAGED = "vt + row * STRIDE_K + column, STRIDE_K);\n      "
_WRITTEN = "write_rows(z, p, vt, CHUNK, Z_K, c * CHUNK, 0, thread_index, THREADS);\n      "

FAULTS = [
    Fault("no_barrier_before_loads", "z_step", _PHASE_1 + _BARRIER, _PHASE_1, chunks, r"race.*[av]_tile"),
    Fault("no_barrier_after_loads", "z_step", f"{_BARRIER}\n      {_MULTIPLY}", _MULTIPLY, chunks, r"race.*[av]_tile"),
    Fault("no_barrier_after_y", "z_step", _Y + _BARRIER, _Y, chunks, r"race.*v_tile"),
    Fault("no_barrier_before_second_loads", "z_step", _PHASE_2 + _BARRIER, _PHASE_2, chunks, r"race.*a_tile"),
    Fault(
        "no_barrier_after_second_loads",
        "z_step",
        f"{_BARRIER}\n      }}\n{_SUM}",
        f"}}\n{_SUM}",
        chunks,
        r"race.*a_tile",
    ),
    Fault("no_barrier_after_blocks", "z_step", _STAGED + _BARRIER, _STAGED, chunks, r"race.*v_tile"),
    Fault("no_barrier_after_rows", "z_step", _WRITTEN + _BARRIER, _WRITTEN, chunks, r"race.*v_tile"),
    Fault("y_beyond_its_columns", "z_step", "if (y_column < Z_K) {", "{", one_chunk, r"v_tile", count=2),
    Fault("rows_of_y_not_cleared", "z_step", "if (rows_left < PANEL) {", "if (false) {", infinity, WRONG_RESULT),
    Fault(
        "rows_of_y_cleared_late",
        "z_step",
        "int i = int(rows_left) * STRIDE_K",
        "int i = int(rows_left + 1) * STRIDE_K",
        infinity,
        WRONG_RESULT,
    ),
    Fault("panels_of_16", "z_step", "first += PANEL", "first += PANEL / 2", one_chunk, WRONG_RESULT),
    Fault("chunks_not_loaded_again", "z_step", "if (c != chunks - 1) {", "if (false) {", chunks, WRONG_RESULT),
    Fault(
        "chunk_forgotten",
        "z_step",
        "int((p.rows + CHUNK - 1) / CHUNK)",
        "int(p.rows / CHUNK)",
        chunks,
        r"unwritten",
    ),
    Fault(
        "v_beyond_its_rows",
        "z_step",
        "p.b_column, p.rows - c * CHUNK,",
        "p.b_column, CHUNK,",
        chunks,
        r"out of bounds.*input 1",
    ),
    Fault(
        "sums_in_one_place",
        "z_step",
        "output_matrix(out, p, group.x,",
        "output_matrix(out, p, 0,",
        chunks,
        r"race of threadgroups",
    ),
    Fault(
        "tile_without_padding",
        "z_step",
        "v_tile[CHUNK * STRIDE_K / 4];",
        "v_tile[CHUNK * Z_K / 4];",
        chunks,
        r"v_tile",
    ),
    Fault("no_barrier_before_y", "z_step", _BARRIER + _STORE_Y, _STORE_Y, chunks, r"race.*v_tile"),
    Fault("no_barrier_before_the_sum", "z_step", _BARRIER + _RESULT, _RESULT, one_chunk, r"race.*v_tile"),
    Fault("sum_of_another_chunk", "z_step", "if (i == c) {", "if (i == c % 2) {", chunks, WRONG_RESULT),
    Fault("not_transposed", "z_step", "STRIDE_C, true, yt", "STRIDE_C, false, yt", chunks, WRONG_RESULT),
]
