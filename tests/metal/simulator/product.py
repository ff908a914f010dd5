"""Steps that are MLX's matrix product rather than a kernel of this project."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import native

if TYPE_CHECKING:
    from .simulator import Memory

__all__ = ["multiply"]


def multiply(step: dict[str, Any], memories: Mapping[str, Memory]) -> tuple[list[str], dict[str, native.Counters]]:
    """Computes out = A B in float32, as MLX would; what is wrong with the step, and its bytes, each moved once."""
    m, n, k = step["mnk"]
    a_stride, b_stride = step["strides"]
    a_rows, a_columns = (k, m) if step["a_transposed"] else (m, k)
    b_rows, b_columns = (n, k) if step["b_transposed"] else (k, n)
    found = [
        *_check("a", step["a"], a_rows, a_columns, a_stride, memories, reads=True),
        *_check("b", step["b"], b_rows, b_columns, b_stride, memories, reads=True),
        *_check("out", step["out"], m, n, n, memories, reads=False),
    ]
    if found or m == 0 or n == 0:
        return found, {}
    a = _view(step["a"], a_rows, a_columns, a_stride, memories)
    b = _view(step["b"], b_rows, b_columns, b_stride, memories)
    with np.errstate(all="ignore"):  # vectors may be infinite
        _view(step["out"], m, n, n, memories)[...] = (a.T if step["a_transposed"] else a) @ (
            b.T if step["b_transposed"] else b
        )
    label, address, _, _ = step["out"]
    memory = memories[label]
    native.lib().sim_mark_written(memory.index, address - memory.base, 4 * m * n)
    bytes: dict[str, native.Counters] = {}
    for name, read, written in (("a", 4 * m * k, 0), ("b", 4 * k * n, 0), ("out", 0, 4 * m * n)):
        before = bytes.get(step[name][0], native.Counters(0, 0, 0, 0))
        bytes[step[name][0]] = native.Counters(*np.add(before, (read, written, read, written)).tolist())
    return [], bytes


def _check(
    name: str, at: tuple[str, int, int, int], rows: int, columns: int, stride: int, memories: Mapping[str, Memory],
    *, reads: bool
) -> list[str]:  # fmt: skip
    label, address, _, high = at
    if rows == 0 or columns == 0:
        return []
    end = 4 * ((rows - 1) * stride + columns)
    if end > high or stride < columns:
        shape = f"({rows}, {columns}) with {stride} elements from row to row"
        return [f"[product] {name} is {shape}, {end} bytes: {label} has {high} from there"]
    if not reads:
        return [f"[product] {name} would write to {label}"] if label.startswith("input") else []
    memory, count = memories[label], ctypes.c_uint64()
    for row in range(rows):
        begin = address - memory.base + 4 * row * stride
        first = native.lib().sim_unwritten(memory.index, begin, 4 * columns, ctypes.byref(count))
        if first >= 0:
            return [f"[unwritten] product: {name} reads byte {first} of {label}, which nobody wrote"]
    return []


def _view(
    at: tuple[str, int, int, int], rows: int, columns: int, stride: int, memories: Mapping[str, Memory]
) -> np.ndarray[Any, np.dtype[np.float32]]:
    label, address, _, _ = at
    memory = memories[label]
    buffer = (ctypes.c_char * memory.bytes).from_address(memory.copy)
    return np.ndarray((rows, columns), np.float32, buffer, address - memory.base, (4 * stride, 4))
