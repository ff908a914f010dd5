"""The GPU kernels of select_k, simulated, against a stable sort of NumPy in float64."""

import struct
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metalfaiss import _core, select_k

from .simulator import SCHEDULES, Simulator

Rng = np.random.Generator
DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


def check(x: mx.array, k: int, largest: bool = False) -> None:
    values, indices = select_k(x, k, largest=largest)
    mx.eval(values, indices)
    assert values.dtype == x.dtype
    assert indices.dtype == mx.int64
    with np.errstate(invalid="ignore"):  # signalling NaN
        x64 = np.array(x.astype(mx.float32)).astype(np.float64)
    expected = np.argsort(-x64 if largest else x64, axis=-1, kind="stable")[..., :k]
    np.testing.assert_array_equal(np.array(indices), expected)
    np.testing.assert_array_equal(np.array(values.astype(mx.float32)), np.take_along_axis(x64, expected, -1))


def random(rng: Rng, shape: tuple[int, ...], dtype: str = "float32") -> mx.array:
    """Tied now and then."""
    return mx.array(np.round(rng.standard_normal(shape) * 100) / 100, dtype=mx.float32).astype(DTYPES[dtype])


def kernels(sim: Simulator) -> list[str]:
    return [t.kernel for t in sim.traffic]


# ---------------------------------------------------------------------- edges

# (rows, n, ks, the kernels that select)
EDGES = {
    "simdgroup": (
        (1, 7, 8, 9),
        (1, 2, 31, 32, 33, 127, 128, 129, 257, 1000),
        (1, 31, 32, 33, 127, 128),
        ["select_k_simd"],
    ),
    "queue of 32": ((1, 2), (1025, 4095, 4096, 4097, 8193), (1, 31, 32), ["select_k_rows"]),
    "queue of 256": ((2,), (1030, 5000), (129, 255, 256), ["select_k_rows"]),
    "larger queues": ((1,), (1023, 2049, 5001), (257, 512, 1023, 1024), ["select_k_rows"]),
    "the largest queue": ((1,), (2049, 4500), (2047, 2048), ["select_k_rows"]),
    "segments": ((1, 3), (32768, 49155), (1, 33), ["select_k_segments", "select_k_merge"]),
    "sorted rows": ((1, 2), (2049, 4095, 4097), (2049, 4095, 4097), ["select_k_sort_tiles", "select_k_write"]),
    "radix in registers": ((2,), (4201, 16384), (2049, 2100), ["select_k_radix_row", "select_k_write"]),
    "radix": ((2,), (16385,), (2049, 2100), ["select_k_radix_gather", "select_k_write"]),
    "filter": ((1,), (32784, 34001), (2049,), ["select_k_filter", "select_k_sort_tiles"]),
    "filtered segments": ((1,), (66001,), (2050,), ["select_k_filter", "select_k_radix_gather"]),
}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("edge", EDGES)
def test_edges(simulator: Simulator, rng: Rng, edge: str, dtype: str) -> None:
    row_counts, lengths, ks, expected = EDGES[edge]
    for i, (rows, n, k) in enumerate((r, n, k) for r in row_counts for n in lengths for k in ks if k <= n):
        simulator.traffic.clear()
        check(random(rng, (rows, n), dtype), k, largest=i % 2 == 1)
        if edge != "simdgroup":
            assert set(expected) <= set(kernels(simulator)), (rows, n, k)


def test_many_lists_are_merged_in_levels(simulator: Simulator, rng: Rng) -> None:
    check(random(rng, (1, 33 * 64 * 512)), 512)
    assert kernels(simulator) == ["select_k_segments", "select_k_merge_lists", "select_k_merge"]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("n", "k"), [(200, 40), (5000, 300), (33000, 3), (6000, 2300), (33000, 2050)])
def test_the_order_of_threads_does_not_matter(simulator: Simulator, rng: Rng, schedule: str, n: int, k: int) -> None:
    simulator.schedule = schedule
    check(random(rng, (2, n)), k)


# Where the parameters of metal/include/select_k_params.h keep the number of threadgroups, by their size.
GROUPS_AT = {208: 168, 56: 32, 48: 32}


def with_few_groups(steps: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """The launches with at most so many threadgroups: what a plan does when there is more work than a grid holds."""
    for step in steps:
        if step["step"] == "launch":
            groups = min(step["groups"][0], most)
            step["groups"] = (groups, 1, 1)
            for i, a in enumerate(step["arguments"]):
                if isinstance(a, bytes) and len(a) in GROUPS_AT:
                    at = GROUPS_AT[len(a)]
                    step["arguments"][i] = a[:at] + struct.pack("q", groups) + a[at + 8 :]
    return steps


@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize(
    ("rows", "n", "k"), [(41, 33, 9), (5, 1500, 200), (2, 50000, 7), (2, 5000, 4000), (3, 9001, 2100), (2, 66001, 2050)]
)
def test_fewer_threadgroups_than_work(rng: Rng, most: int, rows: int, n: int, k: int) -> None:
    simulator = Simulator()
    _core.simulate(lambda steps: simulator(with_few_groups(steps, most)))
    try:
        check(random(rng, (rows, n)), k)
        assert all(t.bytes for t in simulator.traffic)
    finally:
        _core.simulate(None)
    simulator.check()


# ------------------------------------------------------------------------ data

DISTRIBUTIONS: dict[str, Callable[[Rng, int], Any]] = {
    "ascending": lambda rng, n: np.arange(n),
    "descending": lambda rng, n: -np.arange(n),
    "organ pipe": lambda rng, n: np.abs(np.arange(n) - n // 2),
    "few values": lambda rng, n: rng.integers(-2, 3, n) * rng.choice([-1.0, 1.0], n),  # -0.0 among them
    "one value": lambda rng, n: np.ones(n),
    "special": lambda rng, n: rng.choice([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5], n),
    "mostly NaN": lambda rng, n: np.where(rng.random(n) < 0.97, np.nan, rng.standard_normal(n)),
    "all NaN": lambda rng, n: np.full(n, np.nan),
    "subnormal": lambda rng, n: rng.standard_normal(n) * 1e-41,
    "heavy tails": lambda rng, n: np.exp(20 * rng.standard_normal(n)),
}


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_distributions(simulator: Simulator, rng: Rng, distribution: str, largest: bool) -> None:
    for n, k in ((100, 20), (1500, 40), (5000, 2200), (33000, 2055)):
        x = DISTRIBUTIONS[distribution](rng, n).astype(np.float32)
        check(mx.array(x), k, largest)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("largest", [False, True])
def test_special_values_of_16_bits(simulator: Simulator, rng: Rng, dtype: str, largest: bool) -> None:
    for n, k in ((100, 60), (1500, 700), (4500, 2100)):
        for distribution in ("special", "mostly NaN", "few values"):
            x = mx.array(DISTRIBUTIONS[distribution](rng, n).astype(np.float32))
            check(x.astype(DTYPES[dtype]), k, largest)
    bits = mx.array(rng.integers(0, 1 << 16, 1500).astype(np.uint16))  # every payload, subnormal numbers
    check(bits.view(DTYPES[dtype]), 1500, largest)


def test_signs_of_zero_and_nan_payloads_survive(simulator: Simulator) -> None:
    bits = np.array([0x7FC12345, 0x80000000, 0, 0xFFC54321, 0x80000000], dtype=np.uint32)
    values, indices = select_k(mx.array(bits).view(mx.float32), 5)
    np.testing.assert_array_equal(np.array(indices), [1, 2, 4, 0, 3])
    np.testing.assert_array_equal(np.array(values.view(mx.uint32)), bits[[1, 2, 4, 0, 3]])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_row(simulator: Simulator, data: st.DataObject) -> None:
    special = st.sampled_from([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0])
    rows = data.draw(st.integers(1, 10))
    drawn = data.draw(st.lists(st.floats(width=32) | special, min_size=1, max_size=120))
    n = data.draw(st.sampled_from([len(drawn), 1100, 2100]))  # a simdgroup, a threadgroup
    x = np.resize(np.array(drawn, dtype=np.float32), (rows if n < 200 else 1, n))
    k = data.draw(st.integers(0, n))
    check(mx.array(x), k, data.draw(st.booleans()))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_shape(simulator: Simulator, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 9000))
    k = data.draw(st.integers(0, n))
    dtype = data.draw(st.sampled_from(["float32", "float16", "bfloat16"]))
    start, step = data.draw(st.integers(0, 9)), data.draw(st.sampled_from([1, 1, 2, -1, -3]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = random(rng, (2, start + n * abs(step)), dtype)[:, start:]
    check(x[:, ::step][:, :n], k, data.draw(st.booleans()))


# --------------------------------------------------------------------- strides


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("k", [3, 150])
def test_strides(simulator: Simulator, rng: Rng, dtype: str, k: int) -> None:
    x = random(rng, (4, 5, 3001), dtype)
    for view in (
        x[::2, 1:4, ::2],
        x[:2, ::-2, ::-1],
        x[0, 0, 1:],
        x[1:2, :2, 3:],
        x[:2, 3:, 5:2999],
        mx.broadcast_to(x[:1, :1], (2, 2, 3001)),
        mx.broadcast_to(x[0, :2, :1], (2, 200)),
        x.transpose(1, 2, 0)[:1, :, :][..., :1].transpose(0, 2, 1),
        x[0].T[:2] if k < 5 else x[:2, :2, 7:500],
    ):
        check(view, k)
        check(view, k, largest=True)


def test_strided_radix(simulator: Simulator, rng: Rng) -> None:
    x = random(rng, (2, 9001))
    check(x[:, ::-2], 2060)
    check(x[::-1, 1:6000], 2900)
    y = random(rng, (3, 33000))
    check(y[1:, ::-2], 2060)
    check(mx.broadcast_to(y[:1], (2, 33000))[:, ::-1], 2050)


def test_transposed(simulator: Simulator, rng: Rng) -> None:
    x = random(rng, (1300, 3))
    check(x.T, 20)
    check(x.T[::-1, 5:], 300, largest=True)


def test_many_dimensions(simulator: Simulator, rng: Rng) -> None:
    x = random(rng, (2, 3) * 4 + (2, 6))[..., ::2]
    check(x.transpose(7, 6, 5, 4, 3, 2, 1, 0, 8, 9), 2)
    check(x[0, 0].transpose(5, 4, 3, 2, 1, 0, 6, 7), 3)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0, 5), (0,), (2, 0)])
def test_empty(simulator: Simulator, shape: tuple[int, ...]) -> None:
    for k in {0, shape[-1]}:
        values, indices = select_k(mx.zeros(shape), k)
        assert values.shape == indices.shape == (*shape[:-1], k)
        mx.eval(values, indices)
    values, indices = select_k(mx.zeros((2, 3)), 0)
    assert np.array(values).shape == np.array(indices).shape == (2, 0)


def test_other_dtypes(simulator: Simulator) -> None:
    assert select_k(mx.array([[3, -1, 2]]), 2)[1].tolist() == [[1, 2]]
    assert select_k(np.array([3.0, 1.0, 2.0]), 2)[1].tolist() == [1, 2]


# ------------------------------------------------------------------ transforms


def reference(x: mx.array, k: int, largest: bool = False) -> mx.array:
    order = mx.stop_gradient(mx.argsort(-x if largest else x, axis=-1))[..., :k]
    return mx.take_along_axis(x, order, axis=-1)


@pytest.mark.parametrize("largest", [False, True])
def test_derivatives(simulator: Simulator, rng: Rng, largest: bool) -> None:
    x, t = (mx.array(rng.standard_normal((2, 3, 40)).astype(np.float32)) for _ in range(2))
    g = mx.array(rng.standard_normal((2, 3, 4)).astype(np.float32))
    _, expected = mx.vjp(lambda x: reference(x, 4, largest), [x], [g])
    _, got = mx.vjp(lambda x: select_k(x, 4, largest=largest)[0], [x], [g])
    np.testing.assert_array_equal(np.array(got[0]), np.array(expected[0]))
    _, expected = mx.jvp(lambda x: reference(x, 4, largest), [x], [t])
    _, got = mx.jvp(lambda x: select_k(x, 4, largest=largest)[0], [x], [t])
    np.testing.assert_array_equal(np.array(got[0]), np.array(expected[0]))
    squares = mx.grad(lambda x: mx.sum(select_k(x, 3)[0] ** 2))(x)
    np.testing.assert_array_equal(np.array(squares), np.array(mx.grad(lambda x: mx.sum(reference(x, 3) ** 2))(x)))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_vmap(simulator: Simulator, rng: Rng, axis: int) -> None:
    x = random(rng, (3, 4, 8))
    got = mx.vmap(lambda x: select_k(x, 2), in_axes=axis)(x)
    expected = select_k(mx.moveaxis(x, axis, 0), 2)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(np.array(a), np.array(b))
    check(mx.moveaxis(x, axis, 0), 2)


@pytest.mark.parametrize("shapeless", [False, True])
def test_compile(simulator: Simulator, rng: Rng, shapeless: bool) -> None:
    def f(x: mx.array) -> Any:
        values, indices = select_k(x * 2, 3)
        return values + 1, indices

    compiled = mx.compile(f, shapeless=shapeless)
    for shape in ((2, 9), (3, 1400), (1, 4)):
        x = random(rng, shape)
        values, indices = compiled(x)
        expected = np.argsort(np.array(x).astype(np.float64), axis=-1, kind="stable")[:, :3]
        np.testing.assert_array_equal(np.array(indices), expected)
        np.testing.assert_array_equal(np.array(values), np.take_along_axis(np.array(x), expected, -1) * 2 + 1)
    if shapeless:
        with pytest.raises(ValueError, match=r"\[select_k\] k must be between 0 and the 2 values"):
            mx.eval(compiled(mx.zeros((2, 2))))


def test_streams(simulator: Simulator, rng: Rng) -> None:
    x = random(rng, (4, 100))
    streams = [mx.new_stream(mx.cpu) for _ in range(2)]
    results = [select_k(x * (i + 1), 5, stream=s)[0] for i, s in enumerate(streams * 2)]
    expected = np.sort(np.array(x), axis=-1)[:, :5]
    for i, r in enumerate(results):
        np.testing.assert_array_equal(np.array(r), expected * (i + 1))


def test_what_is_launched_depends_on_the_shape_alone(simulator: Simulator, rng: Rng) -> None:
    for x in (random(rng, (2, 5000)), mx.zeros((2, 5000))):
        mx.eval(select_k(x, 2100))
    plan = kernels(simulator)
    assert plan[: len(plan) // 2] == plan[len(plan) // 2 :]
