"""Bytes of x that select_k moves: it is read once whatever k is, unless k is a large part of a row."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np

from metalfaiss import select_k

from . import Case

_DTYPES = {"float32": mx.float32, "float16": mx.float16}


def _run(rows: int, n: int, k: int, dtype: str) -> Callable[[], None]:
    def run() -> None:
        x = mx.array(np.random.default_rng(1).standard_normal((rows, n)).astype(np.float32)).astype(_DTYPES[dtype])
        mx.eval(x)
        mx.eval(select_k(x, k))

    return run


def _case(rows: int, n: int, k: int, dtype: str = "float32", ceiling: float = 1.1) -> Case:
    size = 4 if dtype == "float32" else 2
    name = f"select_k {dtype} ({rows}, {n}) k={k}"
    return Case(name, _run(rows, n, k, dtype), ("input 0",), size * rows * n, ceiling)


CASES = [
    _case(64, 500, 10),  # a simdgroup a row
    _case(64, 1000, 100, "float16"),
    _case(4, 20000, 10),  # a threadgroup a row
    _case(2, 33000, 10, "float16"),  # segments
    _case(1, 140000, 1000),
    _case(1, 20000, 2048),
    _case(1, 70000, 2100),  # filtered
    _case(2, 16000, 3000, ceiling=1.2),  # radix selection in registers; the k values are read again for the result
    # Radix selection in passes: three digits, counted, gathered. To filter S segments instead, each of them a
    # threadgroup, would move their 8 k bytes of pairs six times: more, where S is to keep a GPU busy.
    _case(1, 20000, 3000, ceiling=5.2),
    _case(1, 20000, 3000, "float16", ceiling=4.2),
]
