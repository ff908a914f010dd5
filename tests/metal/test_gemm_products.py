"""gemm_av, gemm_at_b and z_step as matrix products of the executor, where it prefers those, against float64."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from oracles.gemm import OPS, check_product, t

from .simulator import Simulator

Array = np.ndarray
M, N, K = 130, 200, 41  # just enough multiply-adds


def operands(op: str, m: int, n: int, k: int, *batch: int) -> tuple[mx.array, mx.array]:
    rng = np.random.default_rng(0)
    rows = m if op == "gemm_at_b" else n
    shapes = ((*batch, m, n), (*batch, rows, k))
    return tuple(mx.array(rng.standard_normal(s, dtype=np.float32)) for s in shapes)  # type: ignore[return-value]


def columns_first(x: mx.array) -> mx.array:
    """The same values, stored by columns."""
    return t(mx.contiguous(t(x)))


def kernels(simulator: Simulator) -> set[str]:
    mx.synchronize()
    found = {step.kernel for step in simulator.traffic}
    simulator.traffic.clear()
    return found


@pytest.mark.parametrize("op", OPS)
def test_storage(op: str, products: Simulator) -> None:
    a, b = operands(op, M, N, K)
    wide = mx.contiguous(mx.concatenate([a, a], axis=-1))[:, :N]  # rows that lie apart
    views = [(a, b), (columns_first(a), b), (a, columns_first(b)), (columns_first(a), columns_first(b)), (wide, b)]
    for x, y in views:
        check_product(op, x, y)
        assert kernels(products) == {"product"}


@pytest.mark.parametrize("op", OPS)
def test_batches(op: str, products: Simulator) -> None:
    a, b = operands(op, M, N, K, 3)
    for x, y in [(a, b), (a, b[1]), (a[0], b), (a[:, None], mx.stack([b[:2], b[1:]])[:, :, None][:, :1])]:
        check_product(op, x, y)
        assert kernels(products) == {"product"}


@pytest.mark.parametrize("op", OPS)
def test_where_kernels_do_it(op: str, products: Simulator) -> None:
    a, b = operands(op, M, N, K)
    for x, y in [(a[::-1], b), (a[:, ::-1], b), (a[:9, :7], b[: 9 if op == "gemm_at_b" else 7])]:
        check_product(op, x, y)
        assert "product" not in kernels(products)
    check_product(op, a.astype(mx.float16), b.astype(mx.float16))
    assert "product" not in kernels(products)
    many, others = operands(op, 40, 50, 600, 17)
    check_product(op, many, others)
    assert "product" not in kernels(products)
