"""The kernels of gemm_av, gemm_at_b and z_step through the simulator, against float64."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles.gemm import OPS, check_product, product64, t
from oracles.values import numpy64

from metalfaiss import _core
from metalfaiss.faissmlx.kernels.gemm_kernels import gemm_at_b, gemm_av, z_step

from .simulator import SCHEDULES, Simulator

Array = np.ndarray


def columns_first(x: mx.array) -> mx.array:
    """The same values, stored by columns."""
    return t(mx.contiguous(t(x)))


def operands(
    op: str, m: int, n: int, k: int, batch: tuple[int, ...] = (), dtype: mx.Dtype = mx.float32, seed: int = 0
) -> tuple[mx.array, mx.array]:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((*batch, m, n), dtype=np.float32)
    b = rng.standard_normal((*batch, m if op == "gemm_at_b" else n, k), dtype=np.float32)
    return mx.array(a).astype(dtype), mx.array(b).astype(dtype)


# ------------------------------------------------------------------ values

# Around the tiles: 16 or 64 rows, 64, 32 or 16 of the contraction, 8, 32, 64 or 128 columns, vectors of 4; for z_step
# panels of 32 rows, chunks of 128, 64 or 32 columns, in 1, 2, 4 or more of them.
EDGES = [(0, 1, 1), (1, 0, 1), (1, 1, 0), (0, 0, 0), (0, 5, 3), (5, 0, 3), (0, 5, 130), (1, 1, 1), (2, 3, 1)]
EDGES += [(15, 15, 7), (16, 16, 8), (17, 17, 9), (31, 63, 31), (32, 64, 32), (33, 65, 33), (63, 127, 63)]
EDGES += [(64, 128, 64), (65, 129, 65), (33, 20, 127), (20, 33, 128), (18, 35, 129), (129, 36, 257), (200, 12, 4)]
# Long contractions: large tiles, in slabs.
EDGES += [(70, 1030, 8), (1030, 70, 8), (20, 1061, 20), (1061, 20, 20), (65, 1025, 33), (1025, 65, 40)]
EDGES += [(17, 1040, 100), (1040, 17, 129), (2100, 4, 3), (3, 2100, 5)]


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("shape", EDGES, ids=str)
def test_tile_edges(op: str, shape: tuple[int, int, int], simulator: Simulator) -> None:
    a, b = operands(op, *shape)
    check_product(op, a, b)
    check_product(op, columns_first(a), b)
    check_product(op, a, columns_first(b))


# Sums of z_step in every number of chunks; two passes where they do not fit, the second with parts of A V.
SUMS = [
    (33, 130, 8),
    (40, 1100, 3),
    (33, 600, 5),
    (130, 300, 30),
    (35, 130, 20),
    (33, 513, 32),
    (34, 100, 40),
    (33, 257, 64),
]
SUMS += [(33, 2049, 2), (35, 40, 128), (33, 255, 70), (34, 1025, 9), (35, 513, 33), (40, 9, 129), (1100, 5, 1024)]


@pytest.mark.parametrize("shape", SUMS, ids=str)
def test_sums_of_z_step(shape: tuple[int, int, int], simulator: Simulator) -> None:
    a, v = operands("z_step", *shape)
    check_product("z_step", a, v)
    check_product("z_step", columns_first(a), v)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_half_precision(op: str, dtype: mx.Dtype, simulator: Simulator) -> None:
    for shape in ((0, 3, 2), (70, 33, 9), (80, 36, 12), (20, 24, 130)):
        a, b = operands(op, *shape, dtype=dtype)
        check_product(op, a, b)
        check_product(op, columns_first(a), b)
        check_product(op, a, columns_first(b))


def test_half_precision_is_rounded_once(simulator: Simulator) -> None:
    """2048 + 1 is not a float16: sums that were rounded on the way would lose every one of the ones."""
    a = mx.concatenate([mx.full((1, 1), 2048.0), mx.ones((1, 1000))], axis=1).astype(mx.float16)
    ones = mx.ones((1001, 9), dtype=mx.float16)
    assert (gemm_av(a, ones) == 3048).all().item()
    assert (gemm_at_b(t(a), ones) == 3048).all().item()
    a = mx.array([[70.0, 0.001]]).astype(mx.float16)  # a v = 70000 is not a float16 either
    for k in (9, 130):  # one pass over A, and two
        z = z_step(a, mx.repeat(mx.array([[1000.0], [0.0]]).astype(mx.float16), k, 1))
        np.testing.assert_allclose(np.array(z)[1], 70.0, rtol=1e-3)


@pytest.mark.parametrize("op", OPS)
def test_promotion(op: str, simulator: Simulator) -> None:
    for dtypes in ((mx.float16, mx.float32), (mx.int32, mx.float32)):
        check_product(op, *(x.astype(d) for x, d in zip(operands(op, 9, 7, 5), dtypes, strict=True)))


STRIDED: dict[str, Callable[[mx.array], mx.array]] = {
    "every second row": lambda x: x[::2],
    "every second column": lambda x: x[:, ::2],
    "reversed rows": lambda x: x[::-1],
    "reversed columns": lambda x: x[:, ::-1],
    "reversed and stepped": lambda x: x[::-2, ::-3],
    "a window": lambda x: x[3:-2, 1:-5],
    "an aligned window": lambda x: x[4:, 4:-4],
    "one row repeated": lambda x: mx.broadcast_to(x[:1], x.shape),
    "one column repeated": lambda x: mx.broadcast_to(x[:, :1], x.shape),
    "one value": lambda x: mx.broadcast_to(x[:1, :1], x.shape),
}


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("view", STRIDED)
def test_strides(op: str, view: str, simulator: Simulator) -> None:
    for shape in ((45, 36), (41, 35)):
        x = STRIDED[view](operands("gemm_av", *shape, 1)[0])
        for a in (x, t(x)):
            check_product(op, a, operands(op, *a.shape, 9)[1])
            left = (a.shape[0], 12) if op == "gemm_at_b" else (12, a.shape[0])
            check_product(op, operands("gemm_av", *left, 1)[0], a)


def test_half_precision_strides(simulator: Simulator) -> None:
    for view in STRIDED.values():
        a = view(operands("gemm_av", 45, 36, 1, dtype=mx.float16)[0])
        check_product("gemm_av", a, operands("gemm_av", *a.shape, 9, dtype=mx.float16)[1])


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_shape(every_schedule: Simulator, data: st.DataObject) -> None:
    op = data.draw(st.sampled_from(list(OPS)))
    m, n, k = (data.draw(st.integers(0, most)) for most in (150, 150, 70))
    inputs = []
    for rows, columns in ((m, n), (m if op == "gemm_at_b" else n, k)):
        i, j = (data.draw(st.sampled_from([1, 1, 2, -1, -3])) for _ in range(2))
        x = operands("gemm_av", rows * abs(i), columns * abs(j), 1)[0]
        inputs.append((columns_first(x) if data.draw(st.booleans()) else x)[::i, ::j])
    check_product(op, *inputs)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_special_values_stay_in_their_place(op: str, value: float, simulator: Simulator) -> None:
    """Also beyond the edges: a zero there times an infinity would be a number nowhere."""
    for m, n, k in ((29, 35, 13), (33, 65, 9), (35, 33, 130), (1029, 33, 3)):
        a, b = (np.array(x) for x in operands(op, m, n, k))
        b[3, k - 1] = value
        a[m - 2, n - 1] = -value
        with np.errstate(invalid="ignore"):
            want = product64(op, a.astype(np.float64), b.astype(np.float64))[0]
        got = np.array(OPS[op](mx.array(a), mx.array(b)))
        assert (np.isnan(got) == np.isnan(want)).all()
        assert (np.isinf(got) == np.isinf(want)).all()


@pytest.mark.parametrize("op", OPS)
def test_accuracy(op: str, simulator: Simulator) -> None:
    """Relative to the result's norm: 1e-8 times the square root of the contraction."""
    m, n = (40, 5000) if op == "gemm_av" else (5000, 40)
    a, b = operands(op, m, n, 6)
    for x in (a, a + 1):  # sums that stay small, and that grow
        want = product64(op, numpy64(x), numpy64(b))[0]
        assert np.linalg.norm(numpy64(OPS[op](x, b)) - want) <= 1e-8 * np.sqrt(max(m, n)) * np.linalg.norm(want)


# --------------------------------------------------------------- determinism


DETERMINED = [(65, 129, 33), (1100, 20, 5), (70, 300, 40), (40, 1100, 70)]


@pytest.mark.parametrize("op", OPS)
def test_every_schedule_gives_the_same_bits(op: str) -> None:
    for shape in DETERMINED:
        a, b = operands(op, *shape)
        results = []
        for schedule in SCHEDULES:
            simulator = Simulator(schedule)
            with simulator.active(_core):
                results.append(np.array(OPS[op](a, b)))
            simulator.check()
        assert all((r == results[0]).all() for r in results)


@pytest.mark.parametrize("op", OPS)
def test_every_run_gives_the_same_bits(op: str, simulator: Simulator) -> None:
    for shape in DETERMINED:
        a, b = operands(op, *shape)
        first, second = (np.array(OPS[op](a, b)) for _ in range(2))
        assert (first == second).all()


# -------------------------------------------------------------------- batches

BATCHES = [((3,), (3,)), ((2, 3), (3,)), ((3,), (2, 1)), ((2, 1), (1, 3)), ((), (4,)), ((9,), (1,)), ((0,), (1,))]


@pytest.mark.parametrize("op", OPS)
def test_batches(op: str, simulator: Simulator) -> None:
    for left, right in BATCHES:
        a, b = operands(op, 20, 13, 9, left)[0], operands(op, 20, 13, 9, right)[1]
        check_product(op, a, b)
        check_product(op, mx.contiguous(a[..., ::-1])[..., ::-1], b)
    check_product(op, operands(op, 200, 30, 70, (2,))[0], operands(op, 200, 30, 70)[1])  # slabs, two passes


@pytest.mark.parametrize("op", OPS)
def test_batch_strides(op: str, simulator: Simulator) -> None:
    a, b = operands(op, 9, 8, 9, (3, 5))
    check_product(op, mx.swapaxes(a, 0, 1), mx.swapaxes(b, 0, 1))
    check_product(op, a[::-1, ::2], b[::-1, ::2])
    check_product(
        op, *(mx.moveaxis(mx.contiguous(mx.moveaxis(x, 0, -1)), -1, 0) for x in (a, b))
    )  # the batch innermost
    # More dimensions than a kernel counts through: several launches.
    a = operands(op, 4, 3, 9, (2, 1, 2, 1, 2, 1))[0]
    b = operands(op, 4, 3, 9, (1, 2, 1, 2, 1, 2))[1]
    check_product(op, a[::-1], b[:, ::-1])


# ----------------------------------------------------------------- transforms


def pure(op: str, a: mx.array, b: mx.array) -> mx.array:
    """The same from MLX operations alone."""
    if op == "gemm_av":
        return mx.matmul(a, b)
    return mx.matmul(t(a), b if op == "gemm_at_b" else mx.matmul(a, b))


def close(got: mx.array, want: mx.array) -> None:
    assert got.shape == want.shape
    scale = max(1.0, mx.abs(want).max().item()) if want.size else 1.0
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("batches", [((), ()), ((2, 3), (3,)), ((2, 1), (1, 3))], ids=str)
def test_gradients(op: str, batches: tuple[tuple[int, ...], tuple[int, ...]], simulator: Simulator) -> None:
    a, b = operands(op, 12, 7, 5, batches[0])[0], operands(op, 12, 7, 5, batches[1])[1]
    weight = mx.random.normal(pure(op, a, b).shape)
    value, got = mx.value_and_grad(lambda x, y: (weight * OPS[op](x, y)).sum(), argnums=(0, 1))(a, b)
    want_value, want = mx.value_and_grad(lambda x, y: (weight * pure(op, x, y)).sum(), argnums=(0, 1))(a, b)
    close(value, want_value)
    for g, w in zip(got, want, strict=True):
        close(g, w)
    tangents = [mx.random.normal(a.shape), mx.random.normal(b.shape)]
    close(mx.jvp(OPS[op], [a, b], tangents)[1][0], mx.jvp(lambda x, y: pure(op, x, y), [a, b], tangents)[1][0])


@pytest.mark.parametrize("op", OPS)
def test_vmap(op: str, simulator: Simulator) -> None:
    a, b = operands(op, 6, 5, 4, (3,))
    axes: tuple[int | None, int | None]
    for axes in ((0, 0), (0, None), (None, 0), (1, 0), (2, 1), (-1, -1)):
        inputs = [x[0] if axis is None else mx.moveaxis(x, 0, axis) for x, axis in zip((a, b), axes, strict=True)]
        close(mx.vmap(OPS[op], axes)(*inputs), mx.vmap(lambda x, y: pure(op, x, y), axes)(*inputs))


@pytest.mark.parametrize("op", OPS)
def test_compile(op: str, simulator: Simulator) -> None:
    def step(x: mx.array, y: mx.array) -> mx.array:
        return mx.exp(-mx.abs(OPS[op](x, y))) + 1

    gradient = mx.grad(lambda x, y: step(x, y).sum())
    compiled, shapeless = mx.compile(step), mx.compile(step, shapeless=True)
    shapeless_gradient = mx.compile(gradient, shapeless=True)
    for m, n, k in ((10, 6, 4), (33, 9, 2), (7, 40, 17)):
        a, b = operands(op, m, n, k)
        want = mx.exp(-mx.abs(pure(op, a, b))) + 1
        close(compiled(a, b), want)
        close(shapeless(a, b), want)
        close(shapeless_gradient(a, b), gradient(a, b))
    for batch in (2, 5):
        a, b = operands(op, 4, 3, 2, (batch,))[0], operands(op, 4, 3, 2)[1]
        close(shapeless(a, b), mx.exp(-mx.abs(pure(op, a, b))) + 1)


def test_streams(simulator: Simulator) -> None:
    a, v = operands("gemm_av", 40, 30, 6)
    streams = [mx.new_stream(mx.cpu) for _ in range(3)]
    close(gemm_at_b(a, gemm_av(a, v, stream=streams[0]), stream=streams[1]), pure("z_step", a, v))
    results = [z_step(a * i, v, stream=streams[i]) for i in range(3)]
    for i, result in enumerate(results):
        close(result, i * i * pure("z_step", a, v))
