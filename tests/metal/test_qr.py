"""The QR kernels through the simulator, against NumPy in float64 and the accuracy contract."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles.qr import (
    DIFFICULT,
    batched_views,
    check_batch,
    check_contract,
    exact_qr,
    one_number,
    strided_views,
    weights_for,
    with_condition,
)

from metalfaiss import _core
from metalfaiss.faissmlx.qr import orthonormal_columns, pure_mlx_qr, qr

from .simulator import SCHEDULES, Simulator

pytestmark = pytest.mark.usefixtures("simulator")

# Leaves hold 2048 rows of up to 8 columns, 1024 of up to 16, 512 of up to 32, 640 of up to 64; panels have 64 columns.
ONE_LEAF = [
    *[(1, 1), (2, 1), (300, 1), (7, 3), (8, 8), (9, 8), (31, 8), (32, 8), (33, 7), (70, 5)],
    *[(9, 9), (16, 9), (16, 16), (17, 16), (63, 16), (64, 16), (65, 15), (17, 17), (33, 32), (100, 20), (32, 32)],
    *[(33, 33), (64, 64), (65, 64), (100, 48)],
]
TREES = [(2049, 2), (1025, 16), (1100, 20), (513, 17), (512, 32), (515, 40), (645, 40)]
PANELS = [(65, 65), (66, 65), (129, 128), (130, 70), (140, 129), (650, 66)]
WIDE = [(1, 5), (3, 4), (8, 9), (16, 40), (33, 200), (64, 65), (64, 129), (70, 130)]


@pytest.mark.parametrize("shape", [*ONE_LEAF, *TREES, *PANELS, *WIDE])
def test_equals_numpy_in_float64(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    a = with_condition(rng, *shape, 10)
    q, r = qr(mx.array(a))
    check_contract(a, q, r)
    want_q, want_r = exact_qr(a)
    np.testing.assert_allclose(np.array(q), want_q, atol=2e-5)
    np.testing.assert_allclose(np.array(r), want_r, atol=2e-5)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(m=st.integers(1, 150), n=st.integers(1, 80), seed=st.integers(0, 2**31), exponent=st.floats(0, 7))
def test_contract_on_any_shape(m: int, n: int, seed: int, exponent: float) -> None:
    a = with_condition(np.random.default_rng(seed), m, n, 10**exponent)
    check_contract(a, *qr(mx.array(a)))


@pytest.mark.parametrize("condition", [1e2, 1e4, 1e6, 1e7])
@pytest.mark.parametrize("shape", [(64, 16), (40, 40), (1100, 20), (140, 100), (20, 50)])
def test_contract_for_condition_numbers(rng: np.random.Generator, shape: tuple[int, int], condition: float) -> None:
    a = with_condition(rng, *shape, condition)
    check_contract(a, *qr(mx.array(a)))


@pytest.mark.parametrize("name", DIFFICULT)
def test_contract_for_singular_and_badly_scaled(name: str) -> None:
    check_contract(DIFFICULT[name], *qr(mx.array(DIFFICULT[name])))


def singular(m: int, n: int) -> dict[str, np.ndarray]:
    a = np.random.default_rng(9).standard_normal((m, n)).astype(np.float32)
    tiny = a * np.float32(1e-21)
    tiny[0] = 1
    return {
        "zero": np.zeros((m, n), np.float32),
        "ones": np.ones((m, n), np.float32),
        "identity": np.eye(m, n, dtype=np.float32),
        "minus identity": -np.eye(m, n, dtype=np.float32),
        "rank three": (a[:, :3] @ a[:3]).astype(np.float32),
        "zero columns": np.where(np.arange(n) % 3 == 0, 0, a).astype(np.float32),
        "few rows": np.where(np.arange(m)[:, None] < n // 2, a, 0).astype(np.float32),
        "late rows": np.where(np.arange(m)[:, None] < m // 2, 0, a).astype(np.float32),
        "squares vanish": tiny,
        "graded": (a * np.logspace(0, -20, n)).astype(np.float32),
        "graded upwards": (a * np.logspace(-20, 0, n)).astype(np.float32),
        "hilbert": (1 / (np.arange(m)[:, None] + np.arange(n) + 1)).astype(np.float32),
    }


# The last leaf of (642, 33) has fewer rows than columns.
@pytest.mark.parametrize("shape", [(642, 33), (1090, 20), (150, 130), (129, 65)])
@pytest.mark.parametrize("name", list(singular(3, 3)))
def test_contract_for_singular_trees_and_panels(shape: tuple[int, int], name: str) -> None:
    a = singular(*shape)[name]
    check_contract(a, *qr(mx.array(a)))


def test_a_tree_of_three_levels(rng: np.random.Generator) -> None:
    a = rng.standard_normal((8200, 32)).astype(np.float32)
    a[:, 13] = a[:, 2]
    check_contract(a, *qr(mx.array(a)))


def test_any_order_of_threads(every_schedule: Simulator, rng: np.random.Generator) -> None:
    for shape in [(3, 64, 16), (2, 20, 5), (1100, 20), (130, 100)]:
        a = rng.standard_normal(shape).astype(np.float32)
        check_contract(a, *qr(mx.array(a)))


def test_same_bits_in_any_order_of_threads(simulator: Simulator, rng: np.random.Generator) -> None:
    for shape in [(3, 64, 16), (1100, 20), (130, 100)]:
        a = mx.array(rng.standard_normal(shape), mx.float32)
        results = []
        for simulator.schedule in SCHEDULES:
            results.append(qr(a))
            mx.eval(results[-1])
        for q, r in results[1:]:
            assert mx.array_equal(q, results[0][0])
            assert mx.array_equal(r, results[0][1])


# ------------------------------------------------------------------------------------------------ layouts and dtypes


@pytest.mark.parametrize("shape", [(150, 80), (1060, 24)])
def test_strides(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    for view, want in strided_views(rng, shape):
        check_contract(want, *qr(view))


@pytest.mark.parametrize("matrix", [(70, 9), (80, 66), (9, 40)])
def test_batches(rng: np.random.Generator, matrix: tuple[int, int]) -> None:
    for view, want in batched_views(rng, matrix):
        check_batch(want, view)


def test_batches_of_trees(rng: np.random.Generator) -> None:
    a = rng.standard_normal((2, 3, 1100, 9)).astype(np.float32).swapaxes(0, 1)
    check_contract(a, *qr(mx.array(a)))


def test_more_batch_dimensions_than_a_kernel_takes(rng: np.random.Generator) -> None:
    a = rng.standard_normal((4,) * 7 + (3, 2)).astype(np.float32)[(slice(None, None, 2),) * 7]
    check_contract(a, *qr(mx.array(np.ascontiguousarray(a))))
    x = mx.array(rng.standard_normal((3,) * 7 + (3, 2)), mx.float32)[(slice(None, None, 2),) * 7]
    check_contract(np.array(x), *qr(x))


def test_many_small_matrices(rng: np.random.Generator) -> None:
    a = rng.standard_normal((200, 12, 5)).astype(np.float32)
    a[13] = 0
    a[14, :, 3] = a[14, :, 1]
    check_contract(a, *qr(mx.array(a)))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (0, 4, 3), (2, 0, 3), (2, 3, 0)])
def test_empty(shape: tuple[int, ...]) -> None:
    q, r = qr(mx.zeros(shape))
    mx.eval(q, r)
    k = min(shape[-2:])
    assert q.shape == (*shape[:-1], k)
    assert r.shape == (*shape[:-2], k, shape[-1])


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision(rng: np.random.Generator, dtype: mx.Dtype) -> None:
    a = mx.array(rng.standard_normal((50, 12)), dtype)
    q, r = qr(a)
    assert q.dtype == r.dtype == dtype
    want_q, want_r = qr(a.astype(mx.float32))
    assert mx.array_equal(q, want_q.astype(dtype))
    assert mx.array_equal(r, want_r.astype(dtype))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(1, 1), (40, 7), (150, 130), (5, 9), (1100, 20), (70, 80)])
def test_not_finite(rng: np.random.Generator, shape: tuple[int, int], bad: float) -> None:
    a = rng.standard_normal((2, *shape)).astype(np.float32)
    a[1, shape[0] // 2, min(shape) // 2] = bad
    q, r = (np.array(x) for x in qr(mx.array(a)))
    check_contract(a[:1], q[:1], r[:1])
    assert np.isnan(q[1]).all()
    assert np.isnan(r[1][np.triu_indices(*r[1].shape)[0], np.triu_indices(*r[1].shape)[1]]).all()
    assert (np.tril(r[1], -1)[:, : shape[0]] == 0).all()


def test_not_finite_behind_the_leading_columns(rng: np.random.Generator) -> None:
    a = rng.standard_normal((4, 7)).astype(np.float32)
    a[2, 6] = np.nan
    q, r = (np.array(x) for x in qr(mx.array(a)))
    assert np.isfinite(q).all()
    assert np.isnan(r[:, 6]).all()
    assert np.isfinite(r[:, :6]).all()


# -------------------------------------------------------------------------------------------------------- transforms


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (5, 5), (30, 12), (4, 9), (70, 66)])
def test_gradient(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    a = with_condition(rng, *shape, 3)
    weights = weights_for(rng, *shape)
    got = np.array(mx.grad(one_number(qr, weights))(mx.array(a)))
    _core.simulate(None)
    want = np.array(mx.grad(one_number(qr, weights))(mx.array(a)))
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def test_jvp(rng: np.random.Generator) -> None:
    a, direction = (mx.array(with_condition(rng, 9, 5, 3)) for _ in range(2))
    got = [np.array(x) for x in mx.jvp(qr, [a], [direction])[1]]
    want = [np.array(x) for x in mx.jvp(pure_mlx_qr, [a], [direction])[1]]
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, atol=1e-4 * np.abs(w).max())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_vmap(rng: np.random.Generator, axis: int) -> None:
    a = rng.standard_normal((3, 8, 5)).astype(np.float32)
    check_contract(a, *mx.vmap(qr, in_axes=axis)(mx.array(np.moveaxis(a, 0, axis))))


def test_vmap_of_gradients(rng: np.random.Generator) -> None:
    a = np.stack([with_condition(rng, 8, 5, 3) for _ in range(3)])
    gradient = mx.grad(one_number(qr, weights_for(rng, 8, 5)))
    mapped = mx.vmap(gradient)(mx.array(a))
    for i in range(3):
        np.testing.assert_allclose(np.array(mapped[i]), np.array(gradient(mx.array(a[i]))), atol=1e-5)


def test_compile(rng: np.random.Generator) -> None:
    a = with_condition(rng, 12, 5, 3)
    function = mx.value_and_grad(one_number(qr, weights_for(rng, 12, 5)))
    for got, want in zip(mx.compile(function)(mx.array(a)), function(mx.array(a)), strict=True):
        np.testing.assert_allclose(np.array(got), np.array(want), rtol=1e-5, atol=1e-5)


def test_shapeless_compile(rng: np.random.Generator) -> None:
    compiled = mx.compile(lambda x: qr(x + 0), shapeless=True)
    for shape in [(12, 5), (40, 7), (6, 9), (1100, 20), (80, 70)]:
        a = rng.standard_normal(shape).astype(np.float32)
        check_contract(a, *compiled(mx.array(a)))


def test_streams(rng: np.random.Generator) -> None:
    a = rng.standard_normal((50, 8)).astype(np.float32)
    for stream in (mx.cpu, mx.new_stream(mx.cpu)):
        check_contract(a, *qr(mx.array(a), stream=stream))


def test_orthonormal_columns(rng: np.random.Generator) -> None:
    columns = np.array(orthonormal_columns(mx.array(rng.standard_normal((2, 20, 6)), mx.float32)))
    np.testing.assert_allclose(columns.swapaxes(-1, -2) @ columns, np.broadcast_to(np.eye(6), (2, 6, 6)), atol=1e-5)
