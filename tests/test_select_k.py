"""select_k against a float64 argsort: what is chosen, in what order, and how the operation behaves under transforms."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metalfaiss import _core
from metalfaiss.selection import select_k

Rng = np.random.Generator
DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


def oracle(x: Any, k: int, largest: bool) -> tuple[Any, Any]:
    x = np.asarray(x, dtype=np.float64)
    indices = np.argsort(-x if largest else x, axis=-1, kind="stable")[..., :k]
    return np.take_along_axis(x, indices, -1), indices


def check(x: mx.array, k: int, largest: bool = False) -> None:
    values, indices = select_k(x, k, largest=largest)
    assert values.dtype == x.dtype
    assert indices.dtype == mx.int64
    expected_values, expected_indices = oracle(x.astype(mx.float32), k, largest)
    np.testing.assert_array_equal(np.array(indices), expected_indices)
    np.testing.assert_array_equal(np.array(values.astype(mx.float32)), expected_values)


DISTRIBUTIONS: dict[str, Callable[[Rng, int, int], Any]] = {
    "normal": lambda rng, r, n: rng.standard_normal((r, n)),
    "ascending": lambda rng, r, n: np.sort(rng.standard_normal((r, n)), axis=-1),
    "descending": lambda rng, r, n: -np.sort(rng.standard_normal((r, n)), axis=-1),
    "organ pipe": lambda rng, r, n: np.broadcast_to(np.abs(np.arange(n) - n // 2), (r, n)),
    "few values": lambda rng, r, n: rng.integers(-2, 3, (r, n)) * rng.choice([-1.0, 1.0], (r, n)),  # -0.0 among them
    "one value": lambda rng, r, n: np.ones((r, n)),
    "heavy tails": lambda rng, r, n: np.exp(20 * rng.standard_normal((r, n))),
    "one outlier": lambda rng, r, n: np.where(np.arange(n) == n // 3, -3e38, 1 + 1e-6 * rng.random((r, n))),
    "special": lambda rng, r, n: rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5], (r, n)),
    "mostly NaN": lambda rng, r, n: np.where(rng.random((r, n)) < 0.97, np.nan, rng.standard_normal((r, n))),
    "NaN first": lambda rng, r, n: np.where(np.arange(n) < 0.7 * n, np.nan, rng.standard_normal((r, n))),
    "all NaN": lambda rng, r, n: np.full((r, n), np.nan),
    "subnormal": lambda rng, r, n: rng.standard_normal((r, n)) * 1e-41,
}


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_matches_a_stable_sort(simd_level: str, rng: Rng, distribution: str, largest: bool) -> None:
    for n in (1, 7, 33, 64, 1500, 9000):
        x = mx.array(DISTRIBUTIONS[distribution](rng, 2, n).astype(np.float32))
        for k in {1, min(n, 10), n // 3, n - 1, n}:
            check(x, k, largest)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_row(data: st.DataObject) -> None:
    special = st.sampled_from([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0])
    x = np.array([data.draw(st.lists(st.floats(width=32) | special, min_size=1, max_size=90))], dtype=np.float32)
    k = data.draw(st.integers(0, x.shape[-1]))
    check(mx.array(x), k, data.draw(st.booleans()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("largest", [False, True])
def test_dtypes(simd_level: str, rng: Rng, dtype: str, largest: bool) -> None:
    for n in (5, 300, 4000):
        x = mx.array(rng.standard_normal((3, n)).astype(np.float32)).astype(DTYPES[dtype])
        for k in {1, n // 2, n}:
            check(x, k, largest)


@pytest.mark.parametrize("dtype", DTYPES)
def test_strides(simd_level: str, rng: Rng, dtype: str) -> None:
    x = mx.array(rng.standard_normal((6, 40, 9001)).astype(np.float32)).astype(DTYPES[dtype])
    for view in (
        x[::2, 1:4, ::3],
        x[:, ::-1, ::-1][:2, :2],
        x[:2, :2, -2::-5],
        x[:2].transpose(1, 2, 0)[:3],
        x[:2].transpose(2, 0, 1)[:3],
        x[0, 0],
        mx.broadcast_to(x[:1, :1], (2, 3, 9001)),
        mx.broadcast_to(x[0, :3, :1], (3, 50)),
    ):
        for k in (1, 2):
            check(view, k)
            check(view, k, largest=True)


def test_transposed(simd_level: str, rng: Rng) -> None:
    x = mx.array(rng.standard_normal((6000, 37)).astype(np.float32))
    check(x.T, 20)
    check(x.T[::-1, 5:], 300, largest=True)


def test_signs_of_zero_and_nan_payloads_survive() -> None:
    bits = np.array([0x7FC12345, 0x80000000, 0, 0xFFC54321, 0x80000000], dtype=np.uint32)
    values, indices = select_k(mx.array(bits).view(mx.float32), 5)
    np.testing.assert_array_equal(np.array(indices), [1, 2, 4, 0, 3])
    np.testing.assert_array_equal(np.array(values.view(mx.uint32)), bits[[1, 2, 4, 0, 3]])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_long_rows_are_split(simd_level: str, rng: Rng, threads: int) -> None:
    before = _core.num_threads()
    _core.set_num_threads(threads)
    try:
        x = rng.standard_normal((2, 400_001)).astype(np.float32)
        x[1] = np.round(x[1] * 4)  # ties across segments
        x[0, 100:300_000:7] = np.nan
        for k in (1, 100, 3000, 30_000):
            check(mx.array(x), k)
            check(mx.array(x), k, largest=True)
            check(mx.array(x)[1, ::-1], k)
    finally:
        _core.set_num_threads(before)


def test_many_short_rows(simd_level: str, rng: Rng) -> None:
    for n in (1, 2, 3, 5, 17):
        x = mx.array(rng.integers(0, 5, (20_011, n)).astype(np.float32))
        for k in range(n + 1):
            check(x, k)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0, 5), (0,), (2, 0)])
def test_empty(shape: tuple[int, ...]) -> None:
    for k in {0, shape[-1]}:
        values, indices = select_k(mx.zeros(shape), k)
        assert values.shape == indices.shape == (*shape[:-1], k)
        mx.eval(values, indices)
    values, indices = select_k(mx.zeros((2, 3)), 0)
    assert np.array(values).shape == np.array(indices).shape == (2, 0)


def test_other_dtypes_are_selected_as_float32() -> None:
    values, indices = select_k(mx.array([[3, -1, 2]]), 2)
    assert values.dtype == mx.float32
    assert values.tolist() == [[-1.0, 2.0]]
    assert indices.tolist() == [[1, 2]]
    assert select_k(mx.array([True, False]), 1)[1].tolist() == [1]


def test_numpy_in_numpy_out(rng: Rng) -> None:
    x = rng.standard_normal((3, 50))
    for given_dtype, dtype in (("f8", "f4"), ("f4", "f4"), ("f2", "f2"), ("i8", "f4"), (">f4", "f4")):
        a = (x * 10).astype(given_dtype)
        values, indices = select_k(a, 4)
        assert isinstance(values, np.ndarray)
        assert values.dtype == np.dtype(dtype)
        assert indices.dtype == np.int64
        np.testing.assert_array_equal(indices, oracle(a.astype(dtype), 4, False)[1])
    for view in (x[::-1, ::-2], x.T, x[:, :0]):
        np.testing.assert_array_equal(select_k(view, 0 if view.size == 0 else 2)[1], oracle(view, 2, False)[1])
    values, indices = select_k([3.0, 1.0, 2.0], 2)
    np.testing.assert_array_equal(values, [1, 2])
    assert isinstance(select_k(mx.array([1.0]), 1)[0], mx.array)


def test_is_deterministic(rng: Rng) -> None:
    x = mx.array(rng.standard_normal((5, 70_000)).astype(np.float32))
    first = [np.array(a) for a in select_k(x, 500)]
    for _ in range(3):
        for a, b in zip(select_k(x, 500), first, strict=True):
            np.testing.assert_array_equal(np.array(a), b)


# ------------------------------------------------------------------ transforms


def reference(x: mx.array, k: int, largest: bool = False) -> mx.array:
    """The values by MLX operations that MLX differentiates."""
    order = mx.stop_gradient(mx.argsort(-x if largest else x, axis=-1))[..., :k]
    return mx.take_along_axis(x, order, axis=-1)


def weights(shape: tuple[int, ...]) -> mx.array:
    return mx.sin(mx.arange(int(np.prod(shape))).reshape(shape) + 1.0)


@pytest.mark.parametrize("shape", [(11,), (3, 11), (2, 3, 11)])
@pytest.mark.parametrize("largest", [False, True])
def test_vjp_and_jvp(rng: Rng, shape: tuple[int, ...], largest: bool) -> None:
    x = mx.array(rng.standard_normal(shape).astype(np.float32))
    t = mx.array(rng.standard_normal(shape).astype(np.float32))
    g = weights((*shape[:-1], 4))
    _, expected = mx.vjp(lambda x: reference(x, 4, largest), [x], [g])
    _, got = mx.vjp(lambda x: select_k(x, 4, largest=largest)[0], [x], [g])
    np.testing.assert_array_equal(np.array(got[0]), np.array(expected[0]))
    _, expected = mx.jvp(lambda x: reference(x, 4, largest), [x], [t])
    _, got = mx.jvp(lambda x: select_k(x, 4, largest=largest), [x], [t])
    np.testing.assert_array_equal(np.array(got[0]), np.array(expected[0]))
    assert mx.all(got[1] == 0)


def test_gradient_matches_finite_differences(rng: Rng) -> None:
    x = rng.permutation(9).astype(np.float32)  # gaps wider than the step
    h = 0.25

    def f(x: mx.array) -> mx.array:
        return mx.sum(select_k(x, 3)[0] * mx.array([1.0, -2.0, 4.0]))

    steps = np.eye(9, dtype=np.float32) * h
    expected = [(f(mx.array(x + e)) - f(mx.array(x - e))).item() / (2 * h) for e in steps]
    np.testing.assert_allclose(np.array(mx.grad(f)(mx.array(x))), expected, rtol=1e-6)


def test_gradient_of_special_values() -> None:
    x = mx.array([float("nan"), 2.0, float("inf"), 1.0])
    _, (g,) = mx.vjp(lambda x: select_k(x, 2)[0], [x], [mx.array([10.0, 20.0])])
    np.testing.assert_array_equal(np.array(g), [0, 20, 0, 10])


def test_second_derivative_and_value_and_grad(rng: Rng) -> None:
    x = mx.array(rng.standard_normal((2, 9)).astype(np.float32))

    def f(x: mx.array, select: Callable[[mx.array], mx.array]) -> mx.array:
        return mx.sum(select(x) ** 3)

    def native(x: mx.array) -> mx.array:
        return f(x, lambda x: select_k(x, 3)[0])

    def pure(x: mx.array) -> mx.array:
        return f(x, lambda x: reference(x, 3))

    for got, expected in zip(mx.value_and_grad(native)(x), mx.value_and_grad(pure)(x), strict=True):
        np.testing.assert_allclose(np.array(got), np.array(expected), rtol=1e-6)
    second = [mx.grad(lambda x, f=f: mx.sum(mx.grad(f)(x) ** 2))(x) for f in (native, pure)]
    np.testing.assert_allclose(np.array(second[0]), np.array(second[1]), rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_vmap(rng: Rng, axis: int) -> None:
    x = mx.array(rng.standard_normal((3, 4, 8)).astype(np.float32))
    got = mx.vmap(lambda x: select_k(x, 2), in_axes=axis)(x)
    expected = select_k(mx.moveaxis(x, axis, 0), 2)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(np.array(a), np.array(b))
    twice = mx.vmap(mx.vmap(lambda x: select_k(x, 2)[0]))(x)
    np.testing.assert_array_equal(np.array(twice), np.array(select_k(x, 2)[0]))
    grads = mx.vmap(mx.grad(lambda x: mx.sum(select_k(x, 2)[0] ** 2)), in_axes=axis)(x)
    expected_grads = mx.grad(lambda x: mx.sum(select_k(x, 2)[0] ** 2))(mx.moveaxis(x, axis, 0))
    np.testing.assert_array_equal(np.array(grads), np.array(expected_grads))


@pytest.mark.parametrize("shapeless", [False, True])
def test_compile(rng: Rng, shapeless: bool) -> None:
    traces = 0

    def f(x: mx.array) -> tuple[mx.array, mx.array]:
        nonlocal traces
        traces += 1
        values, indices = select_k(x * 2, 3)
        return values + 1, indices

    compiled = mx.compile(f, shapeless=shapeless)
    nested = mx.compile(lambda x: compiled(x)[0] * 3, shapeless=shapeless)
    for shape in ((2, 9), (5, 700), (1, 4)):
        x = mx.array(rng.standard_normal(shape).astype(np.float32))
        values, indices = compiled(x)
        expected_values, expected_indices = select_k(x * 2, 3)
        np.testing.assert_array_equal(np.array(indices), np.array(expected_indices))
        np.testing.assert_array_equal(np.array(values), np.array(expected_values + 1))
        np.testing.assert_array_equal(np.array(nested(x)), np.array((expected_values + 1) * 3))
    assert traces == (2 if shapeless else 6)


def test_shapeless_compile_of_transforms(rng: Rng) -> None:
    def f(x: mx.array) -> mx.array:
        return mx.sum(select_k(x, 3, largest=True)[0] ** 2)

    def tangent(x: mx.array, t: mx.array) -> mx.array:
        return mx.jvp(lambda x: select_k(x, 3)[0], [x], [t])[1][0]

    grad = mx.compile(mx.value_and_grad(f), shapeless=True)
    jvp = mx.compile(tangent, shapeless=True)
    for shape in ((2, 9), (5, 70), (1, 4)):
        x = mx.array(rng.standard_normal(shape).astype(np.float32))
        for got, expected in zip(grad(x), mx.value_and_grad(f)(x), strict=True):
            np.testing.assert_allclose(np.array(got), np.array(expected), rtol=1e-6)
        np.testing.assert_array_equal(np.array(jvp(x, x * x)), np.array(tangent(x, x * x)))


def test_compile_merges_equal_calls_only(rng: Rng) -> None:
    x = mx.array(rng.standard_normal((2, 9)).astype(np.float32))

    def f(x: mx.array) -> tuple[mx.array, ...]:
        return select_k(x, 2)[0], select_k(x, 2)[0], select_k(x, 2, largest=True)[0], select_k(x, 3)[0]

    for a, b in zip(mx.compile(f)(x), f(x), strict=True):
        np.testing.assert_array_equal(np.array(a), np.array(b))


def test_streams(rng: Rng) -> None:
    x = mx.array(rng.standard_normal((4, 100)).astype(np.float32))
    streams = [mx.new_stream(mx.cpu) for _ in range(2)]
    results = [select_k(x * (i + 1), 5, stream=s)[0] for i, s in enumerate(streams * 4)]
    for i, r in enumerate(results):
        np.testing.assert_array_equal(np.array(r), np.array(select_k(x * (i + 1), 5, stream=mx.cpu)[0]))


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("x", "k", "message"),
    [
        (mx.zeros((2, 3)), 4, r"\[select_k\] k must be between 0 and the 3 values of a row of x \(2, 3\). Received 4"),
        (mx.zeros((2, 3)), -1, r"\[select_k\] k must be at least 0. Received -1"),
        (mx.zeros((5,)), 10**12, r"\[select_k\] k must be at most 2147483647. Received 10{12}."),
        (mx.array(1.0), 0, r"\[select_k\] x must have at least 1 dimension. Received a scalar."),
    ],
)
def test_wrong_values(x: mx.array, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select_k(x, k)


def test_k_beyond_a_shapeless_row() -> None:
    compiled = mx.compile(lambda x: select_k(x, 3)[0], shapeless=True)
    compiled(mx.zeros((2, 5)))
    with pytest.raises(ValueError, match=r"\[select_k\] k must be between 0 and the 2 values"):
        mx.eval(compiled(mx.zeros((2, 2))))


@pytest.mark.parametrize("k", [True, 2.0, "2", None, np.bool_(True)])
def test_k_of_a_wrong_type(k: Any) -> None:
    with pytest.raises(TypeError, match=r"\[select_k\] k must be an int. Received"):
        select_k(mx.zeros((2, 3)), k)


def test_wrong_types() -> None:
    with pytest.raises(TypeError, match=r"\[select_k\] Arrays must be float32, float16 or bfloat16. Received"):
        select_k(mx.zeros((2, 3), dtype=mx.complex64), 1)
    with pytest.raises(TypeError, match=r"\[select_k\] x must be an array of real numbers. Received list"):
        select_k(["a", "b"], 1)  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"\[select_k\] largest must be a bool. Received 1 of type int"):
        select_k(mx.zeros((2, 3)), 1, largest=1)  # type: ignore[arg-type]
    assert select_k(mx.zeros((2, 3)), np.int32(2))[0].shape == (2, 2)  # type: ignore[arg-type]
