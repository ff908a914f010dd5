"""Faults in the kernels of gemm_av and gemm_at_b (metal/gemm.metal)."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from metalfaiss.faissmlx.kernels.gemm_kernels import gemm_at_b, gemm_av, z_step

from . import WRONG_RESULT, Fault

__all__ = ["FAULTS"]

Array = np.ndarray


def _normal(*shape: int) -> Array:
    return np.random.default_rng(7).standard_normal(shape, dtype=np.float32)


def _close(got: mx.array, want: Array) -> None:
    np.testing.assert_allclose(np.array(got), want, rtol=1e-3, atol=1e-3 * abs(want).max())


def small() -> None:
    """One slab, small tiles with edges everywhere, single elements along rows."""
    a, v = _normal(35, 51), _normal(51, 19)
    _close(gemm_av(mx.array(a), mx.array(v)), a @ v)


def vectors() -> None:
    """Vectors of four, and a tail of two; the last row ends where the memory ends."""
    a, v = _normal(35, 52), _normal(50, 12)
    _close(gemm_av(mx.array(a)[:, :50], mx.array(v)), a[:, :50] @ v)


def slabs() -> None:
    """A contraction in slabs; large tiles, of which a simdgroup has two rows of blocks."""
    a, b = _normal(1100, 40), _normal(1100, 20)
    _close(gemm_at_b(mx.array(a), mx.array(b)), a.T @ b)


def odd_sum() -> None:
    """Slabs whose sum ends within a threadgroup."""
    a, b = _normal(300, 5), _normal(300, 3)
    _close(gemm_at_b(mx.array(a), mx.array(b)), a.T @ b)


def column_tiles() -> None:
    a, v = _normal(17, 20), _normal(20, 130)
    _close(gemm_av(mx.array(a), mx.array(v)), a @ v)


def batches() -> None:
    a, v = _normal(3, 2, 10, 12), _normal(2, 12, 5)
    _close(gemm_av(mx.array(a), mx.array(v)), a @ v)


def two_passes() -> None:
    """z_step with too many columns for one pass, in two parts of A V."""
    a, v = _normal(1060, 5), _normal(5, 1024)
    _close(z_step(mx.array(a), mx.array(v)), a.T @ (a @ v))


_BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"
_LOADED = "end - i, p.columns - column, p.b_order, thread_index, THREADS);\n    "
_AV = "multiply_blocks(sum, BLOCKS_M, BLOCKS_K, at + first_row * STRIDE_N, STRIDE_N, false, bt + first_column, STRIDE_K,\n                    TILE_N);"  # noqa: E501
_AT_B = "multiply_blocks(sum, BLOCKS_M, BLOCKS_K, at + first_row, STRIDE_M, true, bt + first_column, STRIDE_K, TILE_N);"
_STORED = "store_blocks(sum + i * BLOCKS_K, 1, BLOCKS_K, own, STRIDE_K);\n    "
_WRITTEN = "THREADS);\n    }\n    "
_END = "end = min(long(begin + p.slab), long(p.contraction));"

FAULTS = [
    Fault("no_barrier_after_loads", "gemm", f"{_BARRIER}\n    {_AV}", _AV, small, r"race.*[ab]_tile"),
    Fault("no_barrier_before_loads", "gemm", f"{_AT_B}\n    {_BARRIER}", _AT_B, slabs, r"race.*[ab]_tile"),
    Fault("no_barrier_after_blocks", "gemm", _STORED + _BARRIER, _STORED, slabs, r"race.*b_tile"),
    Fault("no_barrier_after_rows", "gemm", _WRITTEN + _BARRIER, _WRITTEN, slabs, r"race.*b_tile"),
    Fault(
        "fence_of_other_memory",
        "gemm",
        _STORED + _BARRIER,
        _STORED + "threadgroup_barrier(mem_flags::mem_device);",
        slabs,
        r"race.*b_tile",
    ),
    Fault(
        "barrier_of_some",
        "gemm",
        f"{_BARRIER}\n    {_AV}",
        f"if (thread_index < 128) {{\n      {_BARRIER}\n    }}\n    {_AV}",
        small,
        r"\[barrier\]",
    ),
    Fault(
        "product_of_some_lanes",
        "gemm",
        _AV,
        f"if (thread_index % 32 < 31) {{\n      {_AV}\n    }}",
        small,
        r"\[simd\]",
    ),
    Fault("no_end_of_rows", "gemm", "if (row + r < p.rows && ", "if (", small, r"out of bounds.*writes.*output 0"),
    Fault("no_end_of_columns", "gemm", " && column + c < p.columns) {", ") {", small, r"race|out of bounds.*output 0"),
    Fault(
        "row_too_many",
        "gemm",
        "if (row + r < p.rows &&",
        "if (row + r <= p.rows &&",
        small,
        r"out of bounds.*writes.*output 0",
    ),
    Fault("vectors_beyond_rows", "gemm", "if (r < rows_left) {", "if (true) {", vectors, r"out of bounds.*input"),
    Fault(
        "vector_beyond_the_row",
        "gemm",
        "if (c + 4 <= columns_left) {",
        "if (c < columns_left) {",
        vectors,
        r"out of bounds.*input 0",
    ),
    Fault(
        "vectors_of_anything",
        "gemm",
        "if (order == ORDER_VECTORS) {",
        "if (order != ORDER_COLUMNS) {",
        small,
        r"misaligned.*input",
    ),
    Fault(
        "elements_beyond_columns",
        "gemm",
        "if (r < rows_left && c < columns_left) {",
        "if (r < rows_left) {",
        small,
        r"out of bounds.*input",
    ),
    Fault("slab_beyond_the_end", "gemm", _END, "end = begin + p.slab;", slabs, r"out of bounds.*input", count=2),
    Fault(
        "overlapping_slabs",
        "gemm",
        _END,
        "end = min(long(begin + 2 * p.slab), long(p.contraction));",
        slabs,
        WRONG_RESULT,
        count=2,
    ),
    Fault(
        "slabs_in_one_place",
        "gemm",
        "return out + (slab * p.batches + p.out_batch + batch)",
        "return out + (p.out_batch + batch)",
        slabs,
        r"race of threadgroups",
    ),
    Fault(
        "tile_without_padding",
        "gemm",
        "threadgroup float4 b_tile[TILE_N * STRIDE_K / 4];",
        "threadgroup float4 b_tile[TILE_N * TILE_K / 4];",
        small,
        r"b_tile",
        count=2,
    ),
    Fault(
        "sums_not_begun",
        "gemm",
        "fill_zero(sum, BLOCKS_M * BLOCKS_K);",
        "",
        small,
        WRONG_RESULT,
        count=2,
    ),
    Fault("not_transposed", "gemm", "STRIDE_M, true, bt", "STRIDE_M, false, bt", slabs, WRONG_RESULT),
    Fault(
        "one_column_tile",
        "gemm",
        "column = long(group.x % p.column_tiles) * TILE_K",
        "column = 0",
        column_tiles,
        r"race of threadgroups|unwritten",
        count=2,
    ),
    Fault(
        "simdgroups_in_one_place",
        "gemm",
        "stage + 8 * (simd_index / SIMDS_K) * STRIDE_K",
        "stage",
        small,
        r"race.*b_tile|unwritten|reads.*b_tile",
    ),
    Fault("batch_never_divided", "gemm", "rest /= p.batch_shape[d];", "", batches, WRONG_RESULT),
    Fault(
        "batch_beyond_its_dimension", "gemm", "rest % p.batch_shape[d] *", "rest *", batches, r"out of bounds.*input"
    ),
    Fault(
        "always_added",
        "gemm",
        "p.accumulate ? float(*to) + v : v",
        "float(*to) + v",
        small,
        r"unwritten.*reads.*output 0",
    ),
    Fault("never_added", "gemm", "p.accumulate ? float(*to) + v : v", "v", two_passes, WRONG_RESULT),
    Fault("slab_too_many", "gemm", "s < p.slabs;", "s <= p.slabs;", slabs, r"out of bounds.*scratch 0"),
    Fault("every_fourth_slab", "gemm", "s += 8)", "s += 4)", slabs, WRONG_RESULT),
    Fault(
        "no_barrier_in_the_tree",
        "gemm",
        f"{_BARRIER}\n    if (part < parts) {{",
        "if (part < parts) {",
        slabs,
        r"race.*sums",
    ),
    Fault(
        "sum_beyond_the_end",
        "gemm",
        "if (part == 0 && i < p.size) {",
        "if (part == 0) {",
        odd_sum,
        r"out of bounds.*writes.*output 0",
    ),
]
