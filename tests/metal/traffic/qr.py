"""The passes of qr over A: what is read of A and of the tree that stands on its leaves.

Beside them Q is written once. The tree's triangles and blocks of Q are counted with A wherever they are read.
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

from metalfaiss.faissmlx.qr import qr

from . import Case


def _run(*shape: int) -> Callable[[], None]:
    return lambda: mx.eval(*qr(mx.random.normal(shape, key=mx.random.key(3))))


def _tall(m: int, n: int, scratch: int) -> Case:
    operands = ("input 0", *(f"scratch {i}" for i in range(scratch)))
    return Case(f"qr float32 ({m}, {n})", _run(m, n), operands, 4 * m * n, 2.5)


CASES = [
    _tall(8192, 8, 2),
    _tall(4096, 16, 2),
    _tall(4096, 32, 2),
    _tall(5120, 64, 2),
    _tall(6420, 64, 4),  # three levels
    Case("qr float32 by its Gram matrix (2048, 64)", _run(2048, 64), ("input 0",), 4 * 2048 * 64, 2.1, multiplies=True),
    Case("qr float32 (50, 64, 16)", _run(50, 64, 16), ("input 0",), 4 * 50 * 64 * 16, 1.1),
]
