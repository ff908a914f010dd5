"""QR, native and from MLX operations, against NumPy's in float64 and against the accuracy contract."""

from collections.abc import Callable, Iterator

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles.qr import (
    DIFFICULT,
    QR,
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
from metalfaiss.faissmlx.qr import complete_basis, orthonormal_columns, orthonormal_rows, pure_mlx_qr, qr

# Around the tiles' edges: vectors of 4 to 16 lanes, panels of 8 to 32 columns, blocks of 128 rows, chunks of 256.
SHAPES = [
    *[(1, 1), (2, 1), (300, 1), (3, 3), (7, 3), (8, 8), (9, 8), (17, 16), (64, 16), (65, 17), (129, 15), (127, 24)],
    *[(33, 33), (256, 32), (257, 33), (100, 97), (300, 130), (513, 64), (1030, 49), (260, 257)],
    *[(1, 5), (3, 4), (8, 9), (16, 40), (20, 45), (33, 200)],
]


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = _core.num_threads()
    yield _core.set_num_threads
    _core.set_num_threads(before)


# ------------------------------------------------------------------------------------------------------------ values


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_numpy_in_float64(simd_level: str, rng: np.random.Generator, shape: tuple[int, int]) -> None:
    m, n = shape
    a = with_condition(rng, m, n, 10)
    q, r = qr(mx.array(a))
    check_contract(a, q, r)
    want_q, want_r = exact_qr(a)
    np.testing.assert_allclose(np.array(q), want_q, atol=2e-5)
    np.testing.assert_allclose(np.array(r), want_r, atol=2e-5)


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (8, 8), (65, 17), (40, 33), (3, 8)])
def test_pure_mlx_equals_numpy_in_float64(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    a = with_condition(rng, *shape, 10)
    q, r = pure_mlx_qr(mx.array(a))
    check_contract(a, q, r)
    want_q, want_r = exact_qr(a)
    np.testing.assert_allclose(np.array(q), want_q, atol=2e-5)
    np.testing.assert_allclose(np.array(r), want_r, atol=2e-5)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(m=st.integers(1, 140), n=st.integers(1, 70), seed=st.integers(0, 2**31), exponent=st.floats(0, 7))
def test_contract_on_any_shape(simd_level: str, m: int, n: int, seed: int, exponent: float) -> None:
    a = with_condition(np.random.default_rng(seed), m, n, 10**exponent)
    check_contract(a, *qr(mx.array(a)))


@pytest.mark.parametrize("condition", [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7])
@pytest.mark.parametrize("shape", [(64, 16), (256, 32), (40, 40), (700, 100), (20, 50)])
def test_contract_for_condition_numbers(
    simd_level: str, rng: np.random.Generator, shape: tuple[int, int], condition: float
) -> None:
    a = with_condition(rng, *shape, condition)
    check_contract(a, *qr(mx.array(a)))


@pytest.mark.parametrize("condition", [1e3, 1e7])
def test_pure_mlx_contract_for_condition_numbers(rng: np.random.Generator, condition: float) -> None:
    a = with_condition(rng, 60, 20, condition)
    check_contract(a, *pure_mlx_qr(mx.array(a)))


@pytest.mark.parametrize("name", DIFFICULT)
def test_contract_for_singular_and_badly_scaled(simd_level: str, name: str) -> None:
    check_contract(DIFFICULT[name], *qr(mx.array(DIFFICULT[name])))


@pytest.mark.parametrize("name", [name for name in DIFFICULT if name != "tall"])
def test_pure_mlx_contract_for_singular_and_badly_scaled(name: str) -> None:
    check_contract(DIFFICULT[name], *pure_mlx_qr(mx.array(DIFFICULT[name])))


def test_trees_of_row_chunks(simd_level: str, rng: np.random.Generator) -> None:
    a = rng.standard_normal((9001, 20)).astype(np.float32)  # three levels
    a[:, 13] = a[:, 2]
    check_contract(a, *qr(mx.array(a)))


def test_more_columns_than_cholesky_takes(rng: np.random.Generator) -> None:
    a = rng.standard_normal((1100, 1030)).astype(np.float32)
    check_contract(a, *qr(mx.array(a)))


# ------------------------------------------------------------------------------------------------ layouts and dtypes


def test_strides(simd_level: str, rng: np.random.Generator) -> None:
    for view, want in strided_views(rng, (150, 80)):
        check_contract(want, *qr(view))


def test_batches(simd_level: str, rng: np.random.Generator) -> None:
    for view, want in batched_views(rng, (70, 9)):
        check_batch(want, view)


def test_many_small_matrices(simd_level: str, rng: np.random.Generator) -> None:
    a = rng.standard_normal((500, 12, 5)).astype(np.float32)
    a[13] = 0
    a[14, :, 3] = a[14, :, 1]
    check_contract(a, *qr(mx.array(a)))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (0, 4, 3), (2, 0, 3), (2, 3, 0), (0, 0, 0)])
@pytest.mark.parametrize("function", [qr, pure_mlx_qr])
def test_empty(function: QR, shape: tuple[int, ...]) -> None:
    q, r = function(mx.zeros(shape))
    mx.eval(q, r)
    k = min(shape[-2:])
    assert q.shape == (*shape[:-1], k)
    assert r.shape == (*shape[:-2], k, shape[-1])


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
@pytest.mark.parametrize("function", [qr, pure_mlx_qr])
def test_half_precision(function: QR, rng: np.random.Generator, dtype: mx.Dtype) -> None:
    a = mx.array(rng.standard_normal((50, 12)), dtype)
    q, r = function(a)
    assert q.dtype == r.dtype == dtype
    want_q, want_r = function(a.astype(mx.float32))  # computed in float32, rounded once
    assert mx.array_equal(q, want_q.astype(dtype))
    assert mx.array_equal(r, want_r.astype(dtype))


@pytest.mark.parametrize("function", [qr, pure_mlx_qr])
def test_integers_count_as_float32(function: QR) -> None:
    q, r = function(mx.array([[3, 1], [4, 1]]))
    assert q.dtype == r.dtype == mx.float32
    np.testing.assert_allclose(np.array(q), [[0.6, 0.8], [0.8, -0.6]], atol=1e-6)
    np.testing.assert_allclose(np.array(r), [[5, 1.4], [0, 0.2]], atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(1, 1), (40, 7), (300, 130), (5, 9), (3000, 20)])
def test_not_finite(simd_level: str, rng: np.random.Generator, shape: tuple[int, int], bad: float) -> None:
    a = rng.standard_normal((2, *shape)).astype(np.float32)
    a[1, shape[0] // 2, min(shape) // 2] = bad
    q, r = (np.array(x) for x in qr(mx.array(a)))
    check_contract(a[:1], q[:1], r[:1])  # its neighbour is unharmed
    assert np.isnan(q[1]).all()
    assert np.isnan(r[1][np.triu_indices(*r[1].shape)[0], np.triu_indices(*r[1].shape)[1]]).all()
    assert (np.tril(r[1], -1)[:, : shape[0]] == 0).all()


def test_not_finite_behind_the_leading_columns(simd_level: str, rng: np.random.Generator) -> None:
    a = rng.standard_normal((4, 7)).astype(np.float32)
    a[2, 6] = np.nan
    q, r = (np.array(x) for x in qr(mx.array(a)))
    assert np.isfinite(q).all()
    assert np.isnan(r[:, 6]).all()
    assert np.isfinite(r[:, :6]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_pure_mlx_not_finite(bad: float) -> None:
    a = np.eye(6, 3, dtype=np.float32)
    a[2, 1] = bad
    q, r = pure_mlx_qr(mx.array(a))
    assert np.isnan(np.array(q)).any()
    assert np.isnan(np.array(r)).any()


@pytest.mark.parametrize("shape", [(3000, 40), (600, 200), (200, 200), (40, 300), (64, 30, 8)])
@pytest.mark.parametrize("kind", ["plain", "ill conditioned", "singular"])
def test_same_bits_with_any_number_of_threads(
    simd_level: str, rng: np.random.Generator, threads: Callable[[int], None], shape: tuple[int, ...], kind: str
) -> None:
    a = rng.standard_normal(shape).astype(np.float32)
    if kind == "singular":
        a[..., 1] = a[..., 0]
    elif kind == "ill conditioned":
        a[..., 1:] = a[..., :1] + a[..., 1:] * np.float32(1e-3)
    results = []
    for n in (1, 2, 3, 8):
        threads(n)
        results.append(qr(mx.array(a)))
        mx.eval(results[-1])
    for q, r in results[1:]:
        assert mx.array_equal(q, results[0][0])
        assert mx.array_equal(r, results[0][1])


# ------------------------------------------------------------------------------------------------------- derivatives

DIFFERENTIABLE = [(1, 1), (7, 3), (5, 5), (30, 12), (4, 9), (1, 4)]


@pytest.mark.parametrize("shape", DIFFERENTIABLE)
def test_gradient(simd_level: str, rng: np.random.Generator, shape: tuple[int, int]) -> None:
    a = with_condition(rng, *shape, 3)
    weights = weights_for(rng, *shape)
    got = np.array(mx.grad(one_number(qr, weights))(mx.array(a)))
    pure = np.array(mx.grad(one_number(pure_mlx_qr, weights))(mx.array(a)))
    scale = np.abs(pure).max() + 1
    np.testing.assert_allclose(got, pure, atol=1e-4 * scale)

    def value(x: np.ndarray) -> float:
        q, r = exact_qr(x)
        return float((q * np.array(weights[0])).sum() + (r * np.array(weights[1])).sum())

    step, x = 1e-6, a.astype(np.float64)
    for i, j in np.ndindex(shape):
        bump = np.zeros(shape)
        bump[i, j] = step
        difference = (value(x + bump) - value(x - bump)) / (2 * step)
        assert abs(difference - got[i, j]) <= 1e-4 * scale


@pytest.mark.parametrize("shape", DIFFERENTIABLE)
def test_jvp(simd_level: str, rng: np.random.Generator, shape: tuple[int, int]) -> None:
    a = with_condition(rng, *shape, 3)
    tangent = rng.standard_normal(shape).astype(np.float32)
    got = mx.jvp(lambda x: list(qr(x)), [mx.array(a)], [mx.array(tangent)])[1]
    step, x, d = 1e-6, a.astype(np.float64), tangent.astype(np.float64)
    want = [(p - m) / (2 * step) for p, m in zip(exact_qr(x + step * d), exact_qr(x - step * d), strict=True)]
    pure = mx.jvp(lambda x: list(pure_mlx_qr(x)), [mx.array(a)], [mx.array(tangent)])[1]
    for g, w, p in zip(got, want, pure, strict=True):
        scale = np.abs(w).max() + 1
        np.testing.assert_allclose(np.array(g), w, atol=1e-4 * scale)
        np.testing.assert_allclose(np.array(p), w, atol=1e-4 * scale)


@pytest.mark.parametrize("part", [0, 1])
def test_gradient_through_one_output(rng: np.random.Generator, part: int) -> None:
    a = mx.array(with_condition(rng, 9, 4, 3))
    weight = weights_for(rng, 9, 4)[part]
    got, want = (mx.grad(lambda x, f=f: mx.sum(f(x)[part] * weight))(a) for f in (qr, pure_mlx_qr))
    np.testing.assert_allclose(np.array(got), np.array(want), atol=1e-4)


def test_gradient_of_batches_and_half_precision(rng: np.random.Generator) -> None:
    a = np.stack([with_condition(rng, 9, 4, 3) for _ in range(3)])
    weights = weights_for(rng, 9, 4)
    together = mx.grad(one_number(qr, weights))(mx.array(a))
    for i in range(3):
        alone = mx.grad(one_number(qr, weights))(mx.array(a[i]))
        np.testing.assert_allclose(np.array(together[i]), np.array(alone), atol=1e-5)
    half = mx.grad(one_number(qr, weights))(mx.array(a, mx.float16))
    assert half.dtype == mx.float16
    np.testing.assert_allclose(np.array(half), np.array(together), atol=0.05)


@pytest.mark.parametrize("name", ["zero", "duplicated", "rank one", "zero wide"])
def test_pure_mlx_gradient_is_finite_where_it_does_not_exist(name: str) -> None:
    a = mx.array(DIFFICULT[name])
    gradient = mx.grad(lambda x: sum(mx.sum(part) for part in pure_mlx_qr(x)))(a)
    assert np.isfinite(np.array(gradient)).all()


# -------------------------------------------------------------------------------------------------------- transforms


@pytest.mark.parametrize("function", [qr, pure_mlx_qr])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_vmap(function: QR, rng: np.random.Generator, axis: int) -> None:
    a = rng.standard_normal((3, 8, 5)).astype(np.float32)
    x = mx.array(np.moveaxis(a, 0, axis))
    q, r = mx.vmap(function, in_axes=axis)(x)
    check_contract(a, q, r)
    q, r = mx.vmap(function, in_axes=axis, out_axes=-1)(x)
    check_contract(a, mx.moveaxis(q, -1, 0), mx.moveaxis(r, -1, 0))


def test_vmap_of_batches_and_of_gradients(rng: np.random.Generator) -> None:
    a = np.stack([[with_condition(rng, 8, 5, 3) for _ in range(3)] for _ in range(2)])
    check_contract(a.swapaxes(0, 1), *mx.vmap(qr, in_axes=1)(mx.array(a)))
    check_contract(a, *mx.vmap(mx.vmap(qr))(mx.array(a)))
    gradient = mx.grad(one_number(qr, weights_for(rng, 8, 5)))
    mapped = mx.vmap(gradient)(mx.array(a[0]))
    for i in range(3):
        np.testing.assert_allclose(np.array(mapped[i]), np.array(gradient(mx.array(a[0, i]))), atol=1e-5)


@pytest.mark.parametrize("function", [qr, pure_mlx_qr])
def test_compile(function: QR, rng: np.random.Generator) -> None:
    a = with_condition(rng, 12, 5, 3)
    inner = mx.compile(lambda x: function(x * 2))
    outer = mx.compile(lambda x: inner(x + 0)[0] @ function(x)[1])
    np.testing.assert_allclose(np.array(outer(mx.array(a))), a, atol=1e-5)


@pytest.mark.parametrize("qr_function", [qr, pure_mlx_qr])
def test_value_and_grad_compiled(qr_function: QR, rng: np.random.Generator) -> None:
    weights = weights_for(rng, 12, 5)
    function = mx.value_and_grad(one_number(qr_function, weights))
    compiled = mx.compile(function)
    a = mx.array(with_condition(rng, 12, 5, 3))
    for got, want in zip(compiled(a), function(a), strict=True):
        np.testing.assert_allclose(np.array(got), np.array(want), rtol=1e-5, atol=1e-5)


def test_shapeless_compile(rng: np.random.Generator) -> None:
    traces = 0

    def both(x: mx.array) -> tuple[mx.array, mx.array]:
        nonlocal traces
        traces += 1
        return qr(x + 0)

    compiled = mx.compile(both, shapeless=True)
    for shape in [(12, 5), (40, 7), (6, 9), (300, 64)]:
        a = rng.standard_normal(shape).astype(np.float32)
        check_contract(a, *compiled(mx.array(a)))
    assert traces == 1


def test_equivalent_nodes_are_computed_once() -> None:
    """Compilation merges equal nodes: is_equivalent says that all QRs of one input are."""
    compiled = mx.compile(lambda x: (qr(x)[0], qr(x)[0] - qr(x)[0]))
    q, difference = compiled(mx.ones((5, 2)))
    assert q.shape == (5, 2)
    assert not np.array(difference).any()


# ------------------------------------------------------------------------------------------------------------- bases


@pytest.mark.parametrize("native", [True, False])
def test_orthonormal_columns_and_rows(rng: np.random.Generator, native: bool) -> None:
    a = rng.standard_normal((2, 20, 6)).astype(np.float32)
    columns = np.array(orthonormal_columns(mx.array(a), native=native))
    np.testing.assert_allclose(columns.swapaxes(-1, -2) @ columns, np.broadcast_to(np.eye(6), (2, 6, 6)), atol=1e-5)
    np.testing.assert_allclose(columns @ (columns.swapaxes(-1, -2) @ a), a, atol=1e-4)  # the same span
    rows = np.array(orthonormal_rows(mx.array(a.swapaxes(-1, -2)), native=native))
    np.testing.assert_allclose(rows, columns.swapaxes(-1, -2), atol=1e-5)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("shape", [(6, 2), (5, 5), (7, 0), (1, 1), (2, 9, 4)])
def test_complete_basis(rng: np.random.Generator, native: bool, shape: tuple[int, ...]) -> None:
    q = np.linalg.qr(rng.standard_normal(shape))[0].astype(np.float32)
    basis = np.array(complete_basis(mx.array(q), native=native))
    m, k = shape[-2:]
    assert basis.shape == (*shape[:-1], m)
    np.testing.assert_allclose(basis[..., :k], q, atol=1e-5)
    np.testing.assert_allclose(basis.swapaxes(-1, -2) @ basis, np.broadcast_to(np.eye(m), basis.shape), atol=1e-5)


# ------------------------------------------------------------------------------------------------ streams and errors


def test_streams(rng: np.random.Generator) -> None:
    a = rng.standard_normal((50, 8)).astype(np.float32)
    for stream in (mx.cpu, mx.Device(mx.cpu), mx.new_stream(mx.cpu)):
        check_contract(a, *qr(mx.array(a), stream=stream))
        check_contract(a, *pure_mlx_qr(mx.array(a), stream=stream))


@pytest.mark.parametrize("function", [qr, pure_mlx_qr, orthonormal_columns, orthonormal_rows, complete_basis])
def test_errors(function: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match=r"must have at least 2 dimensions\. Received shape \(3,\)\."):
        function(mx.zeros((3,)))
    with pytest.raises(TypeError, match=r"Arrays must be float32, float16 or bfloat16\. Received .*complex64\."):
        function(mx.zeros((3, 2), mx.complex64))
    with pytest.raises(TypeError):
        function([[1.0, 2.0]])
    with pytest.raises(TypeError):
        function(mx.zeros((3, 2)), mx.cpu)


def test_basis_errors() -> None:
    with pytest.raises(ValueError, match=r"\[complete_basis\] Q must have at most as many columns .*\(2, 3\)"):
        complete_basis(mx.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"\[qr\] A must have at least 2 dimensions"):
        qr(mx.zeros((3,)))
