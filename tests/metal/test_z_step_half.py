"""z_step of a tall A in pairs of float16, against float64, and what it leaves to others."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from oracles.gemm import check_product, product64, t

from metalfaiss.faissmlx.kernels.gemm_kernels import z_step

from .simulator import Simulator

Array = np.ndarray[Any, Any]


def numbers(m: int, n: int, k: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(m + n + k)
    return rng.standard_normal((m, n), dtype=np.float32), rng.standard_normal((n, k), dtype=np.float32)


def check(a: Array, v: Array, simulator: Simulator) -> None:
    check_product("z_step", mx.array(a), mx.array(v))
    mx.synchronize()
    assert "z_step_half" in {step.kernel for step in simulator.traffic}
    simulator.traffic.clear()


# Around panels of 16 rows, three slabs or more, simdgroups of 64 columns, and tiles of 8 of V.
@pytest.mark.parametrize("shape", [(97, 4, 1), (353, 64, 8), (130, 132, 17), (161, 260, 25), (130, 512, 32)], ids=str)
def test_edges(shape: tuple[int, int, int], products: Simulator) -> None:
    a, v = numbers(*shape)
    check(a, v, products)
    wide = mx.array(np.concatenate([a, a, a], axis=1))[:, 4 : 4 + shape[1]]  # rows that lie apart
    check_product("z_step", wide, t(mx.contiguous(t(mx.array(v))))[::-1])


def outlier(a: Array, v: Array) -> None:
    a[3::40, 7] = 1e-20  # a panel in three


def many(a: Array, v: Array) -> None:
    a *= np.float32(10) ** np.random.default_rng(1).uniform(-15, 0, a.shape).astype(np.float32)


def hidden(a: Array, v: Array) -> None:
    """Column 5 of the result is made of small numbers of A alone, column 9 of such of A V."""
    a[:, 3:12], v[:] = 0, 0
    a[:, 4], a[:, 5], v[4, :2] = 2.0**-33 / 3, 1, 1
    a[::8, 8] = 1
    a[1::8, 8], a[1::8, 9], v[8, 2:] = 2.0**-40 / 3, 1, 1


def rows(a: Array, v: Array) -> None:
    a *= np.float32(10) ** np.random.default_rng(1).uniform(-6, 6, (len(a), 1)).astype(np.float32)


def small_y(a: Array, v: Array) -> None:
    v[:, 0] *= 1e-12
    a[5::16, :] *= 1e-7
    a[6::16, :] *= 1e-14


def columns_of_v(a: Array, v: Array) -> None:
    v *= 10 ** np.random.default_rng(1).uniform(-12, 12, v.shape[1]).astype(np.float32)


def rows_of_v(a: Array, v: Array) -> None:
    v *= 10 ** np.random.default_rng(1).uniform(-12, 12, (len(v), 1)).astype(np.float32)


def sparse(a: Array, v: Array) -> None:
    a[np.random.default_rng(1).random(a.shape) < 0.9] = 0


def tiny(a: Array, v: Array) -> None:
    a *= 1e-15
    v *= 1e15


def huge(a: Array, v: Array) -> None:
    a *= 1e16
    v *= 1e-12


@pytest.mark.parametrize(
    "change",
    [outlier, many, hidden, rows, small_y, columns_of_v, rows_of_v, sparse, tiny, huge],
    ids=lambda f: f.__name__,
)
def test_wide_ranges(change: Any, products: Simulator) -> None:
    """Every number of the result is within float32's bound of the terms that make it."""
    a, v = numbers(120, 68, 13)
    change(a, v)
    check(a, v, products)


def test_more_than_are_listed(products: Simulator) -> None:
    a, v = numbers(850, 260, 2)
    a[::16, 1] = 1e-20
    check(a, v, products)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3.4e38, 1e-44])
@pytest.mark.parametrize("of_v", [False, True])
def test_special_values_stay_in_their_place(value: float, of_v: bool, products: Simulator) -> None:
    a, v = numbers(120, 36, 13)
    if of_v:
        v[3, 12] = value
    else:
        a[47, 35] = -value
    with np.errstate(invalid="ignore", over="ignore"):
        want = product64("z_step", a.astype(np.float64), v.astype(np.float64))[0].astype(np.float32)
    got = np.array(z_step(mx.array(a), mx.array(v)))
    if not np.isfinite(value):
        assert (np.isnan(got) == np.isnan(want)).all()
        assert (np.isinf(got) == np.isinf(want)).all()
    finite = np.isfinite(got)
    np.testing.assert_allclose(got[finite], want[finite], rtol=1e-4, atol=1e-4)
