"""z_step on tensor cores, where the executor has them, against float64."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from oracles.gemm import check_product, product64, t
from oracles.values import numpy64

from metalfaiss.faissmlx.kernels.gemm_kernels import z_step

from .simulator import Simulator

Array = np.ndarray


def operands(m: int, n: int, k: int) -> tuple[mx.array, mx.array]:
    rng = np.random.default_rng(m + n + k)
    return mx.array(rng.standard_normal((m, n), dtype=np.float32)), mx.array(
        rng.standard_normal((n, k), dtype=np.float32)
    )


def kernels(simulator: Simulator) -> set[str]:
    mx.synchronize()
    found = {step.kernel for step in simulator.traffic}
    simulator.traffic.clear()
    return found


def is_tensor(simulator: Simulator) -> bool:
    return bool(kernels(simulator) & {"z_step_tensor", "z_step_half"})


# Around panels of 16 and 32 rows, simdgroups of 64 columns and tiles of 8: one slab, several, and more than a panel.
EDGES = [(1, 4, 1), (16, 64, 8), (17, 68, 9), (33, 60, 16), (500, 132, 32), (545, 64, 25), (1100, 8, 3), (70, 512, 32)]


@pytest.mark.parametrize("shape", EDGES, ids=str)
def test_edges(shape: tuple[int, int, int], products: Simulator) -> None:
    a, v = operands(*shape)
    check_product("z_step", a, v)
    check_product("z_step", a, t(mx.contiguous(t(v))))
    assert is_tensor(products)
    wide = mx.concatenate([a, a, a], axis=1)[:, 4 : 4 + shape[1]]  # rows that lie apart
    check_product("z_step", wide, v[::-1])
    assert is_tensor(products)


def test_where_other_kernels_do_it(products: Simulator) -> None:
    for a, v in (operands(40, 516, 3), operands(40, 12, 33), operands(40, 13, 3)):
        check_product("z_step", a, v)
        assert not is_tensor(products)
    a, v = operands(40, 16, 3)
    for x, y in ((a[::-1], v), (a[:, ::2], v[::2]), (a.astype(mx.float16), v), (t(a), mx.ones((40, 2)))):
        check_product("z_step", x, y)
    check_product("z_step", mx.stack([a, a]), v)


def test_accuracy(products: Simulator) -> None:
    """That of float32: relative to the result's norm 1e-8 times the square root of the contraction."""
    a, v = operands(5000, 40, 6)
    for x in (a, a + 1):  # sums that stay small, and that grow
        want = product64("z_step", numpy64(x), numpy64(v))[0]
        assert np.linalg.norm(numpy64(z_step(x, v)) - want) <= 1e-8 * np.sqrt(5000) * np.linalg.norm(want)
    assert is_tensor(products)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3.4e38])
def test_special_values_stay_in_their_place(value: float, products: Simulator) -> None:
    a, v = (np.array(x) for x in operands(49, 36, 13))
    v[3, 12] = value
    a[47, 35] = -value
    with np.errstate(invalid="ignore", over="ignore"):
        want = product64("z_step", a.astype(np.float64), v.astype(np.float64))[0].astype(np.float32)
    got = np.array(z_step(mx.array(a), mx.array(v)))
    assert is_tensor(products)
    if value != value or np.isinf(value):
        assert (np.isnan(got) == np.isnan(want)).all()
        assert (np.isinf(got) == np.isinf(want)).all()
    finite = np.isfinite(got)
    np.testing.assert_allclose(got[finite], want[finite], rtol=1e-4, atol=1e-4)


def test_every_run_gives_the_same_bits(products: Simulator) -> None:
    a, v = operands(600, 100, 20)
    first, second = (np.array(z_step(a, v)) for _ in range(2))
    assert (first == second).all()
