"""The GPU kernel of pairwise_distances, simulated, against float64."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles.pairwise_distances import check_distances
from oracles.search import METRICS

from metalfaiss import METRIC_L2
from metalfaiss.pairwise import pairwise_distances

from .simulator import SCHEDULES, Simulator

Rng = np.random.Generator
DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


def normal(rng: Rng, *shape: int, mean: float = 0.0) -> mx.array:
    return mx.array((rng.standard_normal(shape) + mean).astype(np.float32))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("rows", [(1, 1), (1, 65), (63, 64), (64, 63), (65, 129), (129, 1)], ids=str)
def test_edges(simulator: Simulator, rng: Rng, rows: tuple[int, int], metric: int) -> None:
    for d in (1, 31, 32, 33, 65):
        check_distances(normal(rng, rows[0], d), normal(rng, rows[1], d), metric)
    assert {t.kernel for t in simulator.traffic} == {"pairwise_distances"}


@pytest.mark.parametrize("types", [("float16", "float32"), ("float32", "bfloat16"), ("bfloat16", "float16")], ids=str)
def test_dtypes(simulator: Simulator, rng: Rng, types: tuple[str, str]) -> None:
    for metric in METRICS:
        check_distances(
            normal(rng, 9, 40).astype(DTYPES[types[0]]), normal(rng, 70, 40).astype(DTYPES[types[1]]), metric
        )


def test_accuracy(simulator: Simulator, rng: Rng) -> None:
    for d in (3, 1000):
        check_distances(normal(rng, 5, d, mean=1e4), normal(rng, 9, d, mean=1e4))
    b = normal(rng, 40, 64, mean=100.0)
    check_distances(b[:17] * mx.array(1 + 2**-20 * rng.integers(-3, 4, (17, 64)).astype(np.float32)), b)
    np.testing.assert_array_equal(np.diagonal(np.array(pairwise_distances(b, b))), 0)
    check_distances(mx.abs(normal(rng, 3, 6000)), -mx.abs(normal(rng, 2, 6000)))


def test_special_values(simulator: Simulator) -> None:
    inf, nan = float("inf"), float("nan")
    q, b = np.zeros((3, 9), dtype=np.float32), np.ones((5, 9), dtype=np.float32)
    q[1, 8], q[2, 0] = inf, nan
    b[1, 8], b[2, 3], b[3, 8] = inf, nan, -inf
    expected = [[9, inf, nan, inf, 9], [inf, nan, nan, inf, inf], [nan] * 5]
    np.testing.assert_array_equal(pairwise_distances(q, b), expected)


def test_strides(simulator: Simulator, rng: Rng) -> None:
    x, contiguous = normal(rng, 90, 150), normal(rng, 30, 75)
    for view in (x[::-1, ::2], x[5:, ::-2], x.T[:75, :75].T, x.T[::2][:, :75], mx.broadcast_to(x[:1, :75], (8, 75))):
        check_distances(view, contiguous)
        check_distances(contiguous, view)
        check_distances(view, view)


BATCHES = [
    ((3,), ()),
    ((), (2, 3)),
    ((2, 1), (3,)),
    ((2, 1), (1, 3)),
    ((2, 3), (2, 3)),
    ((2, 1, 2, 1, 2), (2, 1, 2, 1)),
]


@pytest.mark.parametrize("batches", BATCHES, ids=str)
def test_batches(simulator: Simulator, rng: Rng, batches: tuple[tuple[int, ...], ...]) -> None:
    for metric in METRICS:
        check_distances(normal(rng, *batches[0], 5, 12), normal(rng, *batches[1], 9, 12), metric)


def test_empty(simulator: Simulator) -> None:
    for q, b, shape in (((0, 4), (3, 4), (0, 3)), ((2, 4), (0, 4), (2, 0)), ((0, 2, 4), (3, 4), (0, 2, 3))):
        assert np.array(pairwise_distances(mx.zeros(q), mx.zeros(b))).shape == shape
    assert pairwise_distances(mx.zeros((2, 0)), mx.zeros((3, 0))).tolist() == [[0.0] * 3] * 2


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_shape(simulator: Simulator, data: st.DataObject) -> None:
    nq, nb, d = data.draw(st.integers(1, 140)), data.draw(st.integers(1, 140)), data.draw(st.integers(1, 70))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    step = data.draw(st.sampled_from([1, -1, 2]))
    q, b = normal(rng, nq, d * abs(step))[:, ::step], normal(rng, nb * abs(step), d)[::step]
    check_distances(q, b, data.draw(st.sampled_from(METRICS)))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_order_of_threads_does_not_matter(simulator: Simulator, rng: Rng, schedule: str) -> None:
    simulator.schedule = schedule
    q, b = normal(rng, 70, 40), normal(rng, 66, 40)
    check_distances(q, b)
    again = np.array(pairwise_distances(q, b))
    simulator.schedule = "forward"
    np.testing.assert_array_equal(again, np.array(pairwise_distances(q, b)))


def reference(q: mx.array, b: mx.array) -> mx.array:
    return mx.sum(mx.square(mx.expand_dims(q, -2) - mx.expand_dims(b, -3)), axis=-1)


def test_derivatives(simulator: Simulator, rng: Rng) -> None:
    q, b, g = normal(rng, 2, 4, 6), normal(rng, 5, 6), normal(rng, 2, 4, 5)
    tangents = [normal(rng, 2, 4, 6), normal(rng, 5, 6)]
    for ours, theirs in zip(mx.vjp(pairwise_distances, [q, b], [g]), mx.vjp(reference, [q, b], [g]), strict=True):
        for x, y in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(np.array(x), np.array(y), rtol=1e-5, atol=1e-5)
    ours, theirs = (mx.jvp(f, [q, b], tangents)[1][0] for f in (pairwise_distances, reference))
    np.testing.assert_allclose(np.array(ours), np.array(theirs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (1, 2)], ids=str)
def test_vmap(simulator: Simulator, rng: Rng, axes: tuple[int | None, int | None]) -> None:
    q, b = normal(rng, 3, 4, 7), normal(rng, 3, 5, 7)
    args = [x[0] if a is None else mx.moveaxis(x, 0, a) for x, a in zip((q, b), axes, strict=True)]
    got = mx.vmap(pairwise_distances, in_axes=axes)(*args)
    check_distances(q if axes[0] is not None else q[0], b if axes[1] is not None else b[0], METRIC_L2, got)


@pytest.mark.parametrize("shapeless", [False, True])
def test_compile_and_streams(simulator: Simulator, rng: Rng, shapeless: bool) -> None:
    stream = mx.new_stream(mx.cpu)
    compiled = mx.compile(lambda q, b: pairwise_distances(2 * q, b, stream=stream), shapeless=shapeless)
    for nq, nb, d in ((4, 9, 3), (70, 80, 20), (2, 3, 6)):
        q, b = normal(rng, nq, d), normal(rng, nb, d)
        check_distances(2 * q, b, METRIC_L2, compiled(q, b))
