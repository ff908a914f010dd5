"""svd_step and topk_svd against NumPy in float64, natively and from MLX operations alone, under every transform."""

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metalfaiss.faissmlx.compiled import cache
from metalfaiss.faissmlx.svd import svd_step, svd_step_c, topk_svd

BOTH = pytest.mark.parametrize("native", [True, False], ids=["native", "pure"])
Matrix = np.ndarray


def with_spectrum(rng: np.random.Generator, m: int, n: int, s: np.ndarray) -> Matrix:
    """A float32 matrix with about these singular values."""
    r = len(s)
    u, v = (np.linalg.qr(rng.standard_normal((rows, r)))[0] for rows in (m, n))
    return ((u * s) @ v.T).astype(np.float32)


def decaying(rng: np.random.Generator, m: int, n: int) -> Matrix:
    return with_spectrum(rng, m, n, 1 / np.arange(1.0, min(m, n) + 1))


def oracle(a: Matrix, k: int) -> tuple[Matrix, Matrix, Matrix]:
    """The leading triplets in float64, with the signs that topk_svd promises."""
    u, s, vt = np.linalg.svd(a.astype(np.float64), full_matrices=False)
    u, s, vt = u[..., :k], s[..., :k], vt[..., :k, :]
    largest = np.take_along_axis(vt, np.abs(vt).argmax(axis=-1)[..., None], axis=-1)
    return u * np.sign(largest).swapaxes(-1, -2), s, vt * np.sign(largest)


def check_orthonormal(U: mx.array, Vt: mx.array, tolerance: float = 1e-5) -> None:
    u, vt = np.array(U, dtype=np.float64), np.array(Vt, dtype=np.float64)
    eye = np.eye(u.shape[-1])
    assert np.abs(u.swapaxes(-1, -2) @ u - eye).max(initial=0) <= tolerance
    assert np.abs(vt @ vt.swapaxes(-1, -2) - eye).max(initial=0) <= tolerance


def check_topk(a: Matrix, k: int, result: tuple[mx.array, mx.array, mx.array], vectors: float = 1e-4) -> None:
    """Values to 1e-4 relative, orthonormal factors, and the vectors themselves, signs included."""
    U, S, Vt = result
    u, s, vt = oracle(a, k)
    assert (U.shape, S.shape, Vt.shape) == (u.shape, s.shape, vt.shape)
    np.testing.assert_allclose(np.array(S), s, rtol=1e-4)
    check_orthonormal(U, Vt)
    np.testing.assert_allclose(np.array(U), u, atol=vectors)
    np.testing.assert_allclose(np.array(Vt), vt, atol=vectors)


# svd_step


def check_step(a: Matrix, v: Matrix, V: mx.array, tolerance: float = 1e-5) -> None:
    expected = np.linalg.qr(a.astype(np.float64).swapaxes(-1, -2) @ (a.astype(np.float64) @ v))[0]
    found = np.array(V.astype(mx.float32), dtype=np.float64)
    assert found.shape == expected.shape
    np.testing.assert_allclose(
        found.swapaxes(-1, -2) @ found, np.eye(v.shape[-1]) + np.zeros_like(found[..., :1, :1]), atol=tolerance
    )
    cosines = np.linalg.svd(found.swapaxes(-1, -2) @ expected, compute_uv=False)
    np.testing.assert_allclose(cosines, 1, atol=tolerance)


@pytest.mark.parametrize("shape", [(512, 256, 32), (37, 11, 5), (11, 37, 5), (6, 4, 4), (1, 1, 1)], ids=str)
def test_step_native(shape: tuple[int, int, int], rng: np.random.Generator, simd_level: str) -> None:
    m, n, k = shape
    k = min(k, m, n)
    a, v = rng.standard_normal((m, n)).astype(np.float32), rng.standard_normal((n, k)).astype(np.float32)
    check_step(a, v, svd_step(mx.array(a), mx.array(v)))


def test_step_pure_and_compiled(rng: np.random.Generator) -> None:
    a, v = rng.standard_normal((40, 20)).astype(np.float32), rng.standard_normal((20, 6)).astype(np.float32)
    A, V = mx.array(a), mx.array(v)
    check_step(a, v, svd_step(A, V, native=False))
    check_step(a, v, svd_step_c(A, V))
    check_step(a, v, svd_step_c(A, V, native=False))
    check_step(a, v, svd_step_c(A, V, stream=mx.new_stream(mx.cpu)))


def test_step_c_is_traced_once() -> None:
    cache.clear()
    A, V = mx.ones((30, 20)), mx.random.normal((20, 4))
    for _ in range(4):
        V = svd_step_c(A, V)
    mx.eval(V)
    assert cache.info()[:2] == (3, 1)


@BOTH
def test_step_batched_strided_and_half(native: bool, rng: np.random.Generator) -> None:
    a, v = rng.standard_normal((3, 1, 30, 20)).astype(np.float32), rng.standard_normal((2, 20, 4)).astype(np.float32)
    check_step(a, v, svd_step(mx.array(a), mx.array(v), native=native))
    strided = mx.array(a)[0, 0].T[::-1, ::2]
    check_step(a[0, 0].T[::-1, ::2], v[0, :15], svd_step(strided, mx.array(v)[0, :15], native=native))
    for dtype in (mx.float16, mx.bfloat16):
        A, V = mx.array(a[0, 0]).astype(dtype), mx.array(v[0]).astype(dtype)
        Q = svd_step(A, V, native=native)
        assert Q.dtype == dtype
        check_step(np.array(A.astype(mx.float32)), np.array(V.astype(mx.float32)), Q, 0.05)


@BOTH
def test_step_transforms(native: bool, rng: np.random.Generator) -> None:
    a, v = rng.standard_normal((2, 12, 8)).astype(np.float32), rng.standard_normal((2, 8, 3)).astype(np.float32)
    A, V = mx.array(a), mx.array(v)
    w = mx.array(rng.standard_normal((8, 3)).astype(np.float32))

    def step(A: mx.array, V: mx.array) -> mx.array:
        return svd_step(A, V, native=native)

    def loss(A: mx.array, V: mx.array) -> mx.array:
        return (step(A, V) * w).sum()

    expected = np.array(step(A, V))
    for axes in ((0, 0), (1, 0), (0, 2), (2, 1)):
        moved = mx.moveaxis(A, 0, axes[0]), mx.moveaxis(V, 0, axes[1])
        np.testing.assert_allclose(np.array(mx.vmap(step, in_axes=axes)(*moved)), expected, atol=1e-5)
    np.testing.assert_allclose(np.array(mx.vmap(step, in_axes=(0, None))(A, V[0]))[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(np.array(mx.vmap(step, in_axes=(None, 0))(A[1], V))[1], expected[1], atol=1e-5)
    np.testing.assert_allclose(np.array(mx.compile(mx.compile(step))(A, V)), expected, atol=1e-5)

    value, (gA, gV) = mx.value_and_grad(loss, argnums=(0, 1))(A[0], V[0])
    np.testing.assert_allclose(value.item(), (expected[0] * np.array(w)).sum(), rtol=1e-4)
    dA, dV = rng.standard_normal((12, 8)), rng.standard_normal((8, 3))

    def loss64(t: float) -> float:
        x = a[0].astype(np.float64) + t * dA
        q, r = np.linalg.qr(x.T @ (x @ (v[0] + t * dV)))
        return float((q * np.sign(np.diag(r)) * np.array(w)).sum())

    slope = (loss64(1e-6) - loss64(-1e-6)) / 2e-6
    assert (np.array(gA) * dA).sum() + (np.array(gV) * dV).sum() == pytest.approx(slope, rel=1e-3, abs=1e-3)
    if native:  # test_qr compiles the derivative of the pure form
        compiled = mx.compile(mx.value_and_grad(loss, argnums=(0, 1)))(A[0], V[0])[1]
        np.testing.assert_allclose(np.array(compiled[0]), np.array(gA), atol=1e-4)


def test_step_shapeless(rng: np.random.Generator) -> None:
    """The native step is shape-agnostic; `pure_mlx_qr` is not."""
    step = mx.compile(svd_step, shapeless=True)
    for m, n, k in ((40, 20, 5), (12, 30, 7), (64, 64, 1)):
        a, v = rng.standard_normal((m, n)).astype(np.float32), rng.standard_normal((n, k)).astype(np.float32)
        check_step(a, v, step(mx.array(a), mx.array(v)))


def test_step_errors() -> None:
    with pytest.raises(ValueError, match=r"\[z_step\] V must have 4 rows to match A \(5, 4\). Received \(3, 2\)"):
        svd_step(mx.ones((5, 4)), mx.ones((3, 2)))


# topk_svd: results


@pytest.mark.parametrize("shape", [(300, 200, 10), (200, 300, 10), (90, 90, 1), (500, 12, 12), (12, 500, 12)], ids=str)
def test_topk_native(shape: tuple[int, int, int], rng: np.random.Generator, simd_level: str) -> None:
    m, n, k = shape
    a = decaying(rng, m, n)
    check_topk(a, k, topk_svd(mx.array(a), k))


@pytest.mark.parametrize("shape", [(60, 50, 3), (50, 60, 3), (40, 6, 6)], ids=str)
def test_topk_pure(shape: tuple[int, int, int], rng: np.random.Generator) -> None:
    m, n, k = shape
    a = decaying(rng, m, n)
    check_topk(a, k, topk_svd(mx.array(a), k, native=False))
    check_topk(a, k, topk_svd(mx.array(a), k, native=False, compiled=False, iters=2, oversample=30))


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_leading_values_where_the_spectrum_decays(power: float, rng: np.random.Generator) -> None:
    a = with_spectrum(rng, 400, 200, np.arange(1.0, 201) ** -power)
    S = topk_svd(mx.array(a), 32)[1]
    np.testing.assert_allclose(np.array(S), oracle(a, 32)[1], rtol=1e-4)


def test_geometric_decay_and_scale(rng: np.random.Generator) -> None:
    a = with_spectrum(rng, 200, 100, 0.8 ** np.arange(100.0))
    for scale in (1e-8, 1.0, 1e8):
        check_topk(a * np.float32(scale), 20, topk_svd(mx.array(a * np.float32(scale)), 20))


@settings(max_examples=25, deadline=None)
@given(m=st.integers(1, 40), n=st.integers(1, 40), data=st.data())
def test_any_shape(m: int, n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, min(m, n)))
    a = np.random.default_rng(m * 41 + n).standard_normal((m, n)).astype(np.float32)
    U, S, Vt = topk_svd(mx.array(a), k, oversample=40)  # the whole of the smaller side: a full SVD
    s = np.linalg.svd(a.astype(np.float64), compute_uv=False)
    np.testing.assert_allclose(np.array(S), s[:k], atol=1e-5 * s[0])
    check_orthonormal(U, Vt)
    rest = a - np.array((U * S) @ Vt)
    assert np.linalg.norm(rest, 2) <= (s[k] if k < min(m, n) else 0) + 2e-5 * s[0]


@BOTH
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_rank_deficient(native: bool, rank: int, rng: np.random.Generator) -> None:
    for m, n in ((50, 30), (30, 50)):
        a = with_spectrum(rng, m, n, np.arange(1.0, rank + 1)[::-1]) if rank else np.zeros((m, n), np.float32)
        U, S, Vt = topk_svd(mx.array(a), 6, native=native, oversample=4)
        check_orthonormal(U, Vt)
        np.testing.assert_allclose(np.array(S), [*range(rank, 0, -1), *[0] * (6 - rank)], atol=1e-5)


def test_repeated_singular_values(rng: np.random.Generator) -> None:
    a = with_spectrum(rng, 80, 60, np.array([4.0, 4, 4, 1, 1, 0.5]))
    U, S, Vt = topk_svd(mx.array(a), 6)
    check_orthonormal(U, Vt)
    np.testing.assert_allclose(np.array(S), [4, 4, 4, 1, 1, 0.5], rtol=1e-5)
    np.testing.assert_allclose(np.array((U * S) @ Vt), a, atol=1e-5)


@BOTH
def test_batches_are_their_matrices(native: bool, rng: np.random.Generator) -> None:
    a = np.stack([decaying(rng, 30, 24) for _ in range(6)]).reshape(2, 3, 30, 24)
    result = topk_svd(mx.array(a), 4, native=native, compiled=native)
    check_topk(a, 4, result)
    for found, alone in zip(result, topk_svd(mx.array(a[1, 2]), 4, native=native, compiled=native), strict=True):
        np.testing.assert_allclose(np.array(found[1, 2]), np.array(alone), atol=1e-5)


def test_empty_batch() -> None:
    U, S, Vt = topk_svd(mx.zeros((0, 30, 24)), 4)
    mx.eval(U, S, Vt)
    assert (U.shape, S.shape, Vt.shape) == ((0, 30, 4), (0, 4), (0, 4, 24))


def test_strides(rng: np.random.Generator) -> None:
    a = decaying(rng, 70, 90)
    A = mx.array(a)
    check_topk(a.T, 5, topk_svd(A.T, 5))
    check_topk(a[::-1, ::2], 5, topk_svd(A[::-1, ::2], 5))
    check_topk(a[3:50, 10:], 5, topk_svd(A[3:50, 10:], 5))
    repeated = np.broadcast_to(a[0], (40, 90))
    U, S, Vt = topk_svd(mx.broadcast_to(A[0], (40, 90)), 2)
    check_orthonormal(U, Vt)
    np.testing.assert_allclose(np.array(S), [np.linalg.norm(repeated), 0], atol=1e-5)


@BOTH
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_is_computed_in_float32(native: bool, dtype: mx.Dtype, rng: np.random.Generator) -> None:
    A = mx.array(decaying(rng, 60, 40)).astype(dtype)
    half = topk_svd(A, 4, native=native)
    full = topk_svd(A.astype(mx.float32), 4, native=native)
    for h, f in zip(half, full, strict=True):
        assert h.dtype == dtype
        np.testing.assert_array_equal(np.array(h.astype(mx.float32)), np.array(f.astype(dtype).astype(mx.float32)))


def test_integers_count_as_float32() -> None:
    S = topk_svd(mx.array([[3, 0], [0, 4], [0, 0]]), 2)[1]
    assert S.dtype == mx.float32
    np.testing.assert_allclose(np.array(S), [4, 3], rtol=1e-6)


# topk_svd: settings


@BOTH
@pytest.mark.parametrize("band_size", [1, 5, 21, 64])
def test_bands_equal_the_whole(native: bool, band_size: int, rng: np.random.Generator) -> None:
    a = decaying(rng, 80, 60)
    whole = topk_svd(mx.array(a), 5, native=native)
    for streams in (None, [mx.new_stream(mx.cpu)], [mx.new_stream(mx.cpu) for _ in range(3)]):
        banded = topk_svd(mx.array(a), 5, native=native, band_size=band_size, streams=streams)
        for b, w in zip(banded, whole, strict=True):
            np.testing.assert_allclose(np.array(b), np.array(w), atol=1e-5)


def test_streams_alone_share_the_columns(rng: np.random.Generator) -> None:
    a = decaying(rng, 80, 60)
    streams = [mx.new_stream(mx.cpu), mx.cpu]
    check_topk(a, 5, topk_svd(mx.array(a), 5, streams=streams))
    check_topk(a, 5, topk_svd(mx.array(a), 5, streams=streams, stream=streams[0], compiled=False))


def test_deterministic(rng: np.random.Generator) -> None:
    A = mx.array(decaying(rng, 120, 100))
    first = [np.array(x) for x in topk_svd(A, 8)]
    mx.random.seed(99)  # the start does not come from MLX's global state
    for again in (topk_svd(A, 8), topk_svd(A, 8, key=mx.random.key(0))):
        assert all(np.array_equal(x, y) for x, y in zip(first, again, strict=True))
    eager = topk_svd(A, 8, compiled=False)
    assert all(np.allclose(x, np.array(y), atol=1e-6) for x, y in zip(first, eager, strict=True))
    other = [np.array(x) for x in topk_svd(A, 8, key=mx.random.key(7))]
    assert not np.array_equal(first[0], other[0])
    np.testing.assert_allclose(first[1], other[1], rtol=1e-5)


def test_more_iterations_come_nearer(rng: np.random.Generator) -> None:
    a = with_spectrum(rng, 300, 200, np.arange(1.0, 201) ** -0.5)
    s = oracle(a, 10)[1]
    errors = [np.abs(np.array(topk_svd(mx.array(a), 10, iters=i, oversample=5)[1]) - s).max() for i in (1, 3, 9)]
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


def test_compiled_once_for_each_shape_and_setting(rng: np.random.Generator) -> None:
    cache.clear()
    A = mx.array(decaying(rng, 40, 30))
    for _ in range(3):
        mx.eval(topk_svd(A, 3, oversample=2))
    assert cache.info()[:2] == (2, 1)
    mx.eval(topk_svd(A, 4, oversample=2), topk_svd(A[:39], 3, oversample=2))
    assert cache.info()[:2] == (2, 3)
    mx.eval(topk_svd(A, 3, oversample=2, compiled=False))
    assert cache.info()[:2] == (2, 3)


# topk_svd: transforms


def weights(rng: np.random.Generator, m: int, n: int, k: int) -> list[Matrix]:
    return [rng.standard_normal(shape).astype(np.float32) for shape in ((m, k), (k,), (k, n))]


def weighted(factors: tuple[mx.array, ...], w: list[Matrix]) -> mx.array:
    return sum((x * mx.array(y)).sum() for x, y in zip(factors, w, strict=True))


def finite_differences(f: Callable[[Matrix], float], a: Matrix, h: float = 1e-6) -> Matrix:
    out = np.zeros(a.shape)
    for index in np.ndindex(*a.shape):
        d = np.zeros(a.shape)
        d[index] = h
        out[index] = (f(a + d) - f(a - d)) / (2 * h)
    return out


GRADIENT_SHAPES = pytest.mark.parametrize(
    "shape", [(12, 9, 3), (9, 12, 3), (10, 10, 4), (12, 5, 5), (5, 12, 5)], ids=str
)


@BOTH
@GRADIENT_SHAPES
def test_gradient(native: bool, shape: tuple[int, int, int], rng: np.random.Generator) -> None:
    """The rest of the spectrum goes on after the k-th value: the derivative of U and V depends on it."""
    m, n, k = shape
    a = with_spectrum(rng, m, n, 0.6 ** np.arange(min(m, n)))
    w = weights(rng, m, n, k)
    for only in ([1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]):
        used = [on * x for on, x in zip(only, w, strict=True)]
        expected = finite_differences(
            lambda x, used=used: sum((f * y).sum() for f, y in zip(oracle(x, k), used, strict=True)),
            a.astype(np.float64),
        )
        value, gradient = mx.value_and_grad(lambda A, used=used: weighted(topk_svd(A, k, native=native), used))(
            mx.array(a)
        )
        assert value.item() == pytest.approx(
            sum((f * y).sum() for f, y in zip(oracle(a, k), used, strict=True)), abs=1e-3
        )
        np.testing.assert_allclose(np.array(gradient), expected, atol=2e-4 * np.abs(expected).max())


@BOTH
def test_jvp(native: bool, rng: np.random.Generator) -> None:
    for m, n, k in ((12, 9, 3), (9, 12, 3), (8, 4, 4)):
        a = with_spectrum(rng, m, n, 0.6 ** np.arange(min(m, n)))
        d = rng.standard_normal((m, n)).astype(np.float32)
        found = mx.jvp(lambda A, k=k: topk_svd(A, k, native=native), [mx.array(a)], [mx.array(d)])[1]
        up, down = oracle(a + 1e-6 * d.astype(np.float64), k), oracle(a - 1e-6 * d.astype(np.float64), k)
        for t, x, y in zip(found, up, down, strict=True):
            expected = (x - y) / 2e-6
            np.testing.assert_allclose(np.array(t), expected, atol=3e-4 * np.abs(expected).max())


def test_gradient_of_the_values_is_exact_at_any_gap(rng: np.random.Generator) -> None:
    a = with_spectrum(rng, 40, 30, np.linspace(2, 1, 30))
    U, _, Vt = oracle(a, 6)
    w = rng.standard_normal(6).astype(np.float32)
    gradient = mx.grad(lambda A: (topk_svd(A, 6, oversample=30)[1] * mx.array(w)).sum())(mx.array(a))
    np.testing.assert_allclose(np.array(gradient), (U * w) @ Vt, atol=1e-5)


def test_gradient_of_half_precision_has_its_dtype(rng: np.random.Generator) -> None:
    A = mx.array(decaying(rng, 20, 12)).astype(mx.float16)
    gradient = mx.grad(lambda A: topk_svd(A, 2)[1].sum())(A)
    assert gradient.dtype == mx.float16
    u, _, vt = oracle(np.array(A.astype(mx.float32)), 2)
    np.testing.assert_allclose(np.array(gradient.astype(mx.float32)), u @ vt, atol=2e-3)


def test_gradient_of_a_zero_matrix_is_finite() -> None:
    for loss in (lambda A: topk_svd(A, 2)[1].sum(), lambda A: topk_svd(A, 2)[0].sum()):
        assert mx.isfinite(mx.grad(loss)(mx.zeros((6, 4)))).all().item()


def test_second_derivative(rng: np.random.Generator) -> None:
    a = with_spectrum(rng, 10, 8, 0.6 ** np.arange(8))
    d, w = rng.standard_normal((10, 8)).astype(np.float32), rng.standard_normal(3).astype(np.float32)

    def gradient64(x: Matrix) -> Matrix:
        u, _, vt = oracle(x, 3)
        return (u * w) @ vt

    def slope(A: mx.array) -> mx.array:
        return (mx.grad(lambda A: (topk_svd(A, 3)[1] * mx.array(w)).sum())(A) * mx.array(d)).sum()

    expected = (gradient64(a + 1e-6 * d.astype(np.float64)) - gradient64(a - 1e-6 * d.astype(np.float64))) / 2e-6
    np.testing.assert_allclose(np.array(mx.grad(slope)(mx.array(a))), expected, atol=3e-4 * np.abs(expected).max())


@BOTH
def test_vmap_and_compile(native: bool, rng: np.random.Generator) -> None:
    a = np.stack([with_spectrum(rng, 14, 10, scale * 0.5 ** np.arange(10.0)) for scale in (1.0, 2.0, 3.0)])
    A, w = mx.array(a), weights(rng, 14, 10, 3)

    def top(A: mx.array) -> tuple[mx.array, ...]:
        return topk_svd(A, 3, native=native)

    def loss(A: mx.array) -> mx.array:
        return weighted(top(A), w)

    expected = [np.array(x) for x in top(A)]
    gradients = np.stack([np.array(mx.grad(loss)(x)) for x in A])

    def close(found: object, to: Matrix) -> None:
        np.testing.assert_allclose(np.array(found), to, atol=2e-4 * np.abs(to).max())

    for axis in (0, 1, 2):
        moved = mx.moveaxis(A, 0, axis)
        for found, x in zip(mx.vmap(top, in_axes=axis)(moved), expected, strict=True):
            close(found, x)
        close(mx.vmap(mx.grad(loss), in_axes=axis)(moved), gradients)
        close(
            mx.moveaxis(mx.grad(lambda x, axis=axis: mx.vmap(loss, in_axes=axis)(x).sum())(moved), axis, 0), gradients
        )
    for found, x in zip(mx.compile(mx.compile(top))(A), expected, strict=True):
        close(found, x)
    value, gradient = mx.compile(mx.value_and_grad(loss))(A[0])
    close(gradient, gradients[0])
    assert value.item() == pytest.approx(loss(A[0]).item(), rel=1e-4)


def test_shapeless_compile_is_refused() -> None:
    top = mx.compile(lambda A: topk_svd(A, 2), shapeless=True)
    with pytest.raises(ValueError, match="cannot infer output shapes"):
        [top(mx.ones((rows, 5))) for rows in (6, 7)]


def test_on_a_stream_of_its_own(rng: np.random.Generator) -> None:
    a = decaying(rng, 30, 20)
    stream = mx.new_stream(mx.cpu)
    check_topk(a, 3, topk_svd(mx.array(a), 3, stream=stream))
    gradient = mx.grad(lambda A: topk_svd(A, 3, stream=stream)[1].sum())(mx.array(a))
    u, _, vt = oracle(a, 3)
    np.testing.assert_allclose(np.array(gradient), u @ vt, atol=1e-4)


# topk_svd: errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, r"k must be from 1 to min\(m, n\) = 4. Received 0."),
        ({"k": 5}, r"k must be from 1 to min\(m, n\) = 4. Received 5."),
        ({"k": 2, "iters": 0}, "iters must be at least 1. Received 0."),
        ({"k": 2, "oversample": -1}, "oversample must be at least 0. Received -1."),
        ({"k": 2, "band_size": 0}, "band_size must be at least 1. Received 0."),
        ({"k": 2, "streams": []}, "streams must name at least one stream. Received none."),
    ],
)
def test_values_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^\[topk_svd\] {message}$"):
        topk_svd(mx.ones((6, 4)), **settings)


def test_wrong_arrays() -> None:
    with pytest.raises(ValueError, match=r"\[topk_svd\] A must have at least 2 dimensions. Received shape \(3,\)."):
        topk_svd(mx.ones(3), 1)
    with pytest.raises(TypeError, match=r"\[topk_svd\] k must be an int. Received 1.5 of type float."):
        topk_svd(mx.ones((3, 3)), 1.5)
    with pytest.raises(TypeError, match=r"\[topk_svd\] A must be an mlx.core.array. Received ndarray."):
        topk_svd(np.ones((3, 3)), 1)
    with pytest.raises(
        TypeError, match=r"\[topk_svd\] Arrays must be float32, float16 or bfloat16. Received mlx.core.complex64."
    ):
        topk_svd(mx.ones((3, 3), dtype=mx.complex64), 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite(bad: float) -> None:
    a = np.ones((8, 6), np.float32)
    a[2, 3] = bad
    if mx.default_device() == mx.gpu:  # which cannot raise
        assert all(mx.isnan(x).all().item() for x in topk_svd(mx.array(a), 2))
    else:
        with pytest.raises(RuntimeError, match="SVD failed"):
            mx.eval(topk_svd(mx.array(a), 2))
    S = topk_svd(mx.ones((8, 6)), 2)[1]  # the next one is unharmed
    np.testing.assert_allclose(np.array(S), [48**0.5, 0], atol=1e-5)
