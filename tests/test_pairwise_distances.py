"""pairwise_distances against float64: accuracy, shapes, and how the operation behaves under transforms."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from oracles.pairwise_distances import check_distances, distances64
from oracles.search import METRICS
from oracles.values import numpy64

from metalfaiss.metrics import METRIC_INNER_PRODUCT, METRIC_L2
from metalfaiss.pairwise import pairwise_distances

Rng = np.random.Generator
DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}
# Few vectors and many, every remainder of tiles and blocks, sums in one part and in several.
SHAPES = [(1, 1, 1), (3, 5, 7), (5, 70, 33), (130, 300, 129), (2, 1, 513), (7, 9, 1025), (4, 257, 8), (6, 6, 2100)]
SHAPES += [(16, 16, 3), (17, 49, 97), (390, 145, 96), (27, 33, 400)]


def normal(rng: Rng, *shape: int, mean: float = 0.0) -> mx.array:
    return mx.array((rng.standard_normal(shape) + mean).astype(np.float32))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", SHAPES)
def test_matches_float64(simd_level: str, rng: Rng, shape: tuple[int, int, int], metric: int) -> None:
    nq, nb, d = shape
    check_distances(normal(rng, nq, d), normal(rng, nb, d), metric)


def test_far_from_the_origin(simd_level: str, rng: Rng) -> None:
    for d in (3, 96, 1000):
        check_distances(normal(rng, 20, d, mean=1e4), normal(rng, 50, d, mean=1e4), METRIC_L2)


def test_near_duplicates(simd_level: str, rng: Rng) -> None:
    for d in (5, 128):
        b = normal(rng, 40, d, mean=100.0)
        q = b[:17] * mx.array(1 + 2**-20 * rng.integers(-3, 4, (17, d)).astype(np.float32))
        check_distances(q, b, METRIC_L2)
        same = np.diagonal(np.array(pairwise_distances(b, b)))
        np.testing.assert_array_equal(same, 0)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("q_dtype", DTYPES)
@pytest.mark.parametrize("b_dtype", DTYPES)
def test_dtypes(simd_level: str, rng: Rng, q_dtype: str, b_dtype: str, metric: int) -> None:
    check_distances(normal(rng, 9, 70).astype(DTYPES[q_dtype]), normal(rng, 70, 70).astype(DTYPES[b_dtype]), metric)


def test_other_dtypes_are_taken_as_float32() -> None:
    got = pairwise_distances(mx.array([[1, 2]]), mx.array([[4, 6], [True, False]]))
    assert got.tolist() == [[25.0, 4.0]]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_strides(simd_level: str, rng: Rng, dtype: str, metric: int) -> None:
    x = normal(rng, 90, 150).astype(DTYPES[dtype])
    contiguous = normal(rng, 30, 75).astype(DTYPES[dtype])
    for view in (x[::-1, ::2], x[5:, ::-2], x.T[:75, :75].T, x.T[::2][:, :75], mx.broadcast_to(x[:1, :75], (8, 75))):
        check_distances(view, contiguous, metric)
        check_distances(contiguous, view, metric)
        check_distances(view, view, metric)


@pytest.mark.parametrize("metric", METRICS)
def test_batches_broadcast(simd_level: str, rng: Rng, metric: int) -> None:
    for q_batch, b_batch in (((3,), ()), ((), (2, 3)), ((2, 1), (3,)), ((2, 1), (1, 3)), ((2, 3), (2, 3))):
        check_distances(normal(rng, *q_batch, 5, 12), normal(rng, *b_batch, 9, 12), metric)
    q = normal(rng, 4, 12, 5).swapaxes(-1, -2)[::-2]
    check_distances(q, normal(rng, 9, 12), metric)


@pytest.mark.parametrize("metric", METRICS)
def test_empty(metric: int) -> None:
    assert pairwise_distances(mx.zeros((0, 4)), mx.zeros((3, 4)), metric).shape == (0, 3)
    assert pairwise_distances(mx.zeros((2, 4)), mx.zeros((0, 4)), metric).shape == (2, 0)
    assert pairwise_distances(mx.zeros((0, 2, 4)), mx.zeros((3, 4)), metric).shape == (0, 2, 3)
    assert pairwise_distances(mx.zeros((2, 0)), mx.zeros((3, 0)), metric).tolist() == [[0.0] * 3] * 2
    grads = mx.grad(lambda q, b: mx.sum(pairwise_distances(q, b, metric)), argnums=(0, 1))(
        mx.ones((2, 4)), mx.ones((0, 4))
    )
    np.testing.assert_array_equal(np.array(grads[0]), np.zeros((2, 4)))
    assert grads[1].shape == (0, 4)


def test_special_values(simd_level: str) -> None:
    inf, nan = float("inf"), float("nan")
    q = np.zeros((3, 9), dtype=np.float32)
    q[1, 8], q[2, 0] = inf, nan
    b = np.ones((5, 9), dtype=np.float32)
    b[1, 8], b[2, 3], b[3, 8] = inf, nan, -inf
    expected = [[9, inf, nan, inf, 9], [inf, nan, nan, inf, inf], [nan] * 5]
    np.testing.assert_array_equal(pairwise_distances(q, b), expected)
    assert np.isinf(pairwise_distances(np.float32([[3e30]]), np.float32([[-3e30]])))[0, 0]


def test_numpy_in_numpy_out(rng: Rng) -> None:
    q, b = rng.standard_normal((4, 6)), rng.standard_normal((9, 6))
    for given in (np.float64, np.float32):
        got = pairwise_distances(q[::-1].astype(given), b.astype(given))
        assert isinstance(got, np.ndarray)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, distances64(q[::-1], b, METRIC_L2), rtol=1e-4)
    assert isinstance(pairwise_distances(mx.array(q), b), mx.array)
    assert isinstance(pairwise_distances(q, mx.array(b)), mx.array)


@pytest.mark.parametrize("metric", METRICS)
def test_agrees_with_faiss(rng: Rng, metric: int) -> None:
    faiss = pytest.importorskip("faiss")
    q, b = rng.standard_normal((30, 40)).astype(np.float32), rng.standard_normal((50, 40)).astype(np.float32)
    expected = faiss.pairwise_distances(q, b, metric)
    np.testing.assert_allclose(pairwise_distances(q, b, metric), expected, rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------ transforms


def reference(q: mx.array, b: mx.array, metric: int) -> mx.array:
    """By MLX operations that MLX differentiates."""
    if metric == METRIC_INNER_PRODUCT:
        return q.astype(mx.float32) @ b.astype(mx.float32).swapaxes(-1, -2)
    return mx.sum(mx.square((mx.expand_dims(q, -2) - mx.expand_dims(b, -3)).astype(mx.float32)), axis=-1)


def assert_close(got: Any, expected: Any, rtol: float = 1e-5) -> None:
    got, expected = [x if isinstance(x, (list, tuple)) else [x] for x in (got, expected)]
    for a, e in zip(got, expected, strict=True):
        assert a.dtype == e.dtype
        e = numpy64(e)
        np.testing.assert_allclose(numpy64(a), e, rtol=rtol, atol=rtol * (np.abs(e).max() if e.size else 0))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("batches", [((), ()), ((3,), ()), ((), (2, 3)), ((2, 1), (1, 3))])
def test_vjp_and_jvp(rng: Rng, batches: tuple[tuple[int, ...], tuple[int, ...]], metric: int) -> None:
    q, b = normal(rng, *batches[0], 4, 6), normal(rng, *batches[1], 5, 6)
    tq, tb = normal(rng, *q.shape), normal(rng, *b.shape)
    g = normal(rng, *pairwise_distances(q, b).shape)

    def native(q: mx.array, b: mx.array) -> mx.array:
        return pairwise_distances(q, b, metric)

    def pure(q: mx.array, b: mx.array) -> mx.array:
        return reference(q, b, metric)

    assert_close(mx.vjp(native, [q, b], [g])[1], mx.vjp(pure, [q, b], [g])[1])
    assert_close(mx.jvp(native, [q, b], [tq, tb])[1], mx.jvp(pure, [q, b], [tq, tb])[1])
    # With respect to one input only.
    assert_close(mx.vjp(lambda x: native(x, b), [q], [g])[1], mx.vjp(lambda x: pure(x, b), [q], [g])[1])
    assert_close(mx.vjp(lambda x: native(q, x), [b], [g])[1], mx.vjp(lambda x: pure(q, x), [b], [g])[1])
    assert_close(mx.jvp(lambda x: native(x, b), [q], [tq])[1], mx.jvp(lambda x: pure(x, b), [q], [tq])[1])
    assert_close(mx.jvp(lambda x: native(q, x), [b], [tb])[1], mx.jvp(lambda x: pure(q, x), [b], [tb])[1])


@pytest.mark.parametrize("metric", METRICS)
def test_gradient_matches_finite_differences_in_float64(rng: Rng, metric: int) -> None:
    q, b, g = normal(rng, 3, 4), normal(rng, 5, 4), normal(rng, 3, 5)
    q64, b64, g64, h = numpy64(q), numpy64(b), numpy64(g), 1e-5

    def f(q: Any, b: Any) -> float:
        return float((distances64(q, b, metric) * g64).sum())

    def differences(x: Any, at: Callable[[Any], float]) -> Any:
        out = np.zeros_like(x)
        for i in np.ndindex(*x.shape):
            step = np.zeros_like(x)
            step[i] = h
            out[i] = (at(x + step) - at(x - step)) / (2 * h)
        return out

    grads = mx.grad(lambda q, b: mx.sum(pairwise_distances(q, b, metric) * g), argnums=(0, 1))(q, b)
    np.testing.assert_allclose(np.array(grads[0]), differences(q64, lambda x: f(x, b64)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.array(grads[1]), differences(b64, lambda x: f(q64, x)), rtol=1e-4, atol=1e-5)


def test_gradients_far_from_the_origin(rng: Rng) -> None:
    q, b, g = normal(rng, 20, 30, mean=1e4), normal(rng, 40, 30, mean=1e4), normal(rng, 20, 40)
    q64, b64, g64 = numpy64(q), numpy64(b), numpy64(g)
    weighted = 2 * g64[..., None] * (q64[:, None] - b64[None])
    grads = mx.grad(lambda q, b: mx.sum(pairwise_distances(q, b) * g), argnums=(0, 1))(q, b)
    np.testing.assert_allclose(np.array(grads[0]), weighted.sum(1), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(np.array(grads[1]), -weighted.sum(0), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("metric", METRICS)
def test_gradients_of_half_precision_inputs(rng: Rng, metric: int) -> None:
    q, b = normal(rng, 4, 6).astype(mx.float16), normal(rng, 5, 6).astype(mx.bfloat16)
    grads = mx.grad(lambda q, b: mx.sum(pairwise_distances(q, b, metric)), argnums=(0, 1))(q, b)
    expected = mx.grad(lambda q, b: mx.sum(reference(q, b, metric)), argnums=(0, 1))(
        q.astype(mx.float32), b.astype(mx.float32)
    )
    assert_close(grads, [expected[0].astype(mx.float16), expected[1].astype(mx.bfloat16)], rtol=1e-2)


def test_a_bad_row_spoils_only_its_own_gradient() -> None:
    b = mx.array([[1.0, 2.0], [float("nan"), 0.0], [3.0, float("inf")]])
    grad = mx.grad(lambda b: mx.sum(pairwise_distances(mx.zeros((2, 2)), b)[:, 0]))(b)
    np.testing.assert_allclose(np.array(grad[0]), [4, 8])


@pytest.mark.parametrize("metric", METRICS)
def test_second_derivative_and_value_and_grad(rng: Rng, metric: int) -> None:
    q, b = normal(rng, 3, 4), normal(rng, 5, 4)

    def loss(distances: Callable[..., mx.array]) -> Callable[..., mx.array]:
        return lambda q, b: mx.sum(mx.square(distances(q, b, metric)))

    results = []
    for f in (loss(pairwise_distances), loss(reference)):
        value, grads = mx.value_and_grad(f, argnums=(0, 1))(q, b)
        second = mx.grad(lambda q, b, f=f: mx.sum(mx.square(mx.grad(f, argnums=0)(q, b))), argnums=(0, 1))(q, b)
        results.append([value, *grads, *second])
    assert_close(results[0], results[1], rtol=1e-4)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("in_axes", [(0, None), (None, 0), (0, 0), (1, 2), (2, None), (None, -1), (-1, 0)])
def test_vmap(rng: Rng, in_axes: tuple[int | None, int | None], metric: int) -> None:
    def shaped(rows: int, axis: int | None) -> mx.array:
        x = normal(rng, 6, rows, 7)
        return x[0] if axis is None else mx.moveaxis(x, 0, axis)

    q, b = shaped(4, in_axes[0]), shaped(5, in_axes[1])
    got = mx.vmap(lambda q, b: pairwise_distances(q, b, metric), in_axes=in_axes)(q, b)
    front = [x if a is None else mx.moveaxis(x, a, 0) for x, a in zip((q, b), in_axes, strict=True)]
    assert_close(got, reference(*front, metric))


def test_vmap_with_batches_and_grad(rng: Rng) -> None:
    q, b = normal(rng, 3, 2, 4, 6), normal(rng, 3, 5, 6)
    assert_close(mx.vmap(pairwise_distances)(q, b), reference(q, mx.expand_dims(b, 1), METRIC_L2))
    grad = mx.vmap(mx.grad(lambda q, b: mx.sum(mx.square(pairwise_distances(q, b)))))(q[:, 0], b)
    expected = mx.grad(lambda q: mx.sum(mx.square(reference(q, b, METRIC_L2))))(q[:, 0])
    assert_close(grad, expected, rtol=1e-4)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shapeless", [False, True])
def test_compile(rng: Rng, shapeless: bool, metric: int) -> None:
    traces = 0

    def f(q: mx.array, b: mx.array) -> mx.array:
        nonlocal traces
        traces += 1
        return mx.sum(mx.sqrt(1 + mx.square(pairwise_distances(q, b * 2, metric))))

    def pure(q: mx.array, b: mx.array) -> mx.array:
        return mx.sum(mx.sqrt(1 + mx.square(reference(q, b * 2, metric))))

    compiled = mx.compile(f, shapeless=shapeless)
    nested = mx.compile(lambda q, b: compiled(q, b) * 3, shapeless=shapeless)
    grad = mx.compile(mx.value_and_grad(f, argnums=(0, 1)), shapeless=shapeless)
    jvp = mx.compile(
        lambda q, b: mx.jvp(lambda q, b: pairwise_distances(q, b, metric), [q, b], [q * q, b + 1])[1][0],
        shapeless=shapeless,
    )
    # Not one query: MLX 0.32.4 itself fails where an operand of a fused, shapeless kernel shrinks to a single value.
    for nq, nb, d in ((4, 9, 3), (70, 80, 20), (2, 3, 6)):
        q, b = normal(rng, nq, d), normal(rng, nb, d)
        expected, expected_grads = mx.value_and_grad(pure, argnums=(0, 1))(q, b)
        assert_close(compiled(q, b), expected)
        assert_close(nested(q, b), expected * 3)
        value, grads = grad(q, b)
        assert_close([value, *grads], [expected, *expected_grads], rtol=1e-4)
        assert_close(jvp(q, b), mx.jvp(lambda q, b: reference(q, b, metric), [q, b], [q * q, b + 1])[1][0], rtol=1e-4)
    assert traces == (3 if shapeless else 9)


def test_compile_keeps_metrics_apart(rng: Rng) -> None:
    q, b = normal(rng, 3, 4), normal(rng, 5, 4)

    def f(q: mx.array, b: mx.array) -> tuple[mx.array, ...]:
        return tuple(pairwise_distances(q, b, metric) for metric in (0, 1, 0))

    assert_close(mx.compile(f)(q, b), f(q, b))


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("q", "b", "metric", "message"),
    [
        ((2, 3), (4, 5), 1, r"xb must have 3 columns to match xq \(2, 3\). Received \(4, 5\)"),
        ((3,), (4, 3), 1, r"xq must have at least 2 dimensions. Received shape \(3,\)"),
        ((4, 3), (), 1, r"xb must have at least 2 dimensions. Received shape \(\)"),
        ((2, 4, 3), (3, 4, 3), 1, r"Batch dimensions must broadcast. Received \(2, 4, 3\) and \(3, 4, 3\)"),
        ((2, 3), (4, 3), 5, r"metric must be one of FAISS's numbers 0 to 4 and 20 to 25. Received 5"),
        ((2, 3), (4, 3), -7, r"metric must be METRIC_INNER_PRODUCT \(0\) or METRIC_L2 \(1\). Received -7"),
    ],
)
def test_wrong_values(q: tuple[int, ...], b: tuple[int, ...], metric: int, message: str) -> None:
    with pytest.raises(ValueError, match=r"\[pairwise_distances\] " + message):
        pairwise_distances(mx.zeros(q), mx.zeros(b), metric)


def test_wrong_types() -> None:
    x = mx.zeros((2, 3))
    with pytest.raises(
        TypeError, match=r"\[pairwise_distances\] Arrays must be float32, float16 or bfloat16. Received"
    ):
        pairwise_distances(x.astype(mx.complex64), x)
    with pytest.raises(TypeError, match=r"\[pairwise_distances\] metric must be an int. Received 'L2' of type str"):
        pairwise_distances(x, x, "L2")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"\[pairwise_distances\] xb must be an array of real numbers. Received list"):
        pairwise_distances(x, [["a"]])  # type: ignore[call-overload]
