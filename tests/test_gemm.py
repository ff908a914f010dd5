"""gemm_av, gemm_at_b and z_step against float64, over every layout, dtype, SIMD level and transform."""

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles.gemm import OPS, Op, check_product, t

from metalfaiss import _core
from metalfaiss.faissmlx.kernels.gemm_kernels import gemm_at_b, gemm_av, z_step

Array = np.ndarray


def pure(op: str, a: mx.array, b: mx.array) -> mx.array:
    """The same from MLX operations alone."""
    if op == "gemm_av":
        return mx.matmul(a, b)
    return mx.matmul(t(a), b if op == "gemm_at_b" else mx.matmul(a, b))


def operands(
    rng: np.random.Generator, op: str, m: int, n: int, k: int, batch: tuple[int, ...] = ()
) -> tuple[Array, Array]:
    a = rng.standard_normal((*batch, m, n), dtype=np.float32)
    return a, rng.standard_normal((*batch, m if op == "gemm_at_b" else n, k), dtype=np.float32)


# ------------------------------------------------------------------ values

EDGES = [(0, 1, 1), (1, 0, 1), (1, 1, 0), (0, 0, 0), (1, 1, 1), (2, 3, 1), (5, 7, 3), (6, 16, 8), (7, 17, 9)]
EDGES += [(11, 15, 15), (12, 31, 16), (13, 32, 17), (25, 33, 24), (48, 64, 31), (49, 65, 33), (97, 255, 42)]
EDGES += [(255, 257, 10), (256, 256, 32), (257, 128, 65), (300, 40, 130), (17, 300, 513)]


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("shape", EDGES, ids=str)
def test_tile_edges(op: str, shape: tuple[int, int, int], simd_level: str, rng: np.random.Generator) -> None:
    a, b = map(mx.array, operands(rng, op, *shape))
    check_product(op, a, b)
    check_product(op, t(mx.array(np.array(t(a)))), b)  # the same values in the other storage order
    check_product(op, a, t(mx.array(np.array(t(b)))))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 16, 24, 40, 42, 47, 48, 49])
def test_columns(op: str, k: int, simd_level: str, rng: np.random.Generator) -> None:
    check_product(op, *map(mx.array, operands(rng, op, 61, 53, k)))


# Shapes that are split: rows, columns or the contraction in parts, panels shared and not, one pass and two.
SPLITS = [(20000, 40, 8), (5000, 130, 33), (40, 20000, 8), (8, 30000, 12), (3000, 1100, 20), (100, 3000, 400)]


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("shape", SPLITS, ids=str)
def test_splits(op: str, shape: tuple[int, int, int], simd_level: str, rng: np.random.Generator) -> None:
    a, b = map(mx.array, operands(rng, op, *shape))
    check_product(op, a, b)
    check_product(op, t(mx.array(np.array(t(a)))), b)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(0, 3, 2), (1, 1, 1), (70, 33, 9), (300, 280, 40), (4000, 37, 17)], ids=str)
def test_half_precision(
    op: str, dtype: mx.Dtype, shape: tuple[int, int, int], simd_level: str, rng: np.random.Generator
) -> None:
    a, b = (mx.array(x).astype(dtype) for x in operands(rng, op, *shape))
    check_product(op, a, b)
    check_product(op, t(mx.contiguous(t(a))), b)
    check_product(op, a, t(mx.contiguous(t(b))))


def test_half_precision_is_rounded_once() -> None:
    """2048 + 1 is not a float16: sums that were rounded on the way would lose every one of the ones."""
    a = mx.concatenate([mx.full((1, 1), 2048.0), mx.ones((1, 1000))], axis=1).astype(mx.float16)
    ones = mx.ones((1001, 5), dtype=mx.float16)
    assert (gemm_av(a, ones) == 3048).all().item()
    assert (gemm_at_b(t(a), ones) == 3048).all().item()
    # a v = 70000 is not a float16 either.
    a = mx.array([[70.0, 0.001]]).astype(mx.float16)
    z = z_step(a, mx.array([[1000.0], [0.0]]).astype(mx.float16))
    np.testing.assert_allclose(np.array(z)[1, 0], 70.0, rtol=1e-3)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(
    "dtypes", [(mx.float16, mx.float32), (mx.float16, mx.bfloat16), (mx.int32, mx.float32), (mx.bfloat16, mx.int8)]
)
def test_promotion(op: str, dtypes: tuple[mx.Dtype, mx.Dtype], rng: np.random.Generator) -> None:
    a, b = (mx.array(x).astype(d) for x, d in zip(operands(rng, op, 9, 7, 5), dtypes, strict=True))
    check_product(op, a, b)


def test_integers_become_float32() -> None:
    x = mx.arange(6).reshape(2, 3)
    assert gemm_av(x, t(x)).dtype == mx.float32
    assert gemm_av(x, t(x)).tolist() == [[5, 14], [14, 50]]


STRIDED: dict[str, Callable[[mx.array], mx.array]] = {
    "every second row": lambda x: x[::2],
    "every second column": lambda x: x[:, ::2],
    "reversed rows": lambda x: x[::-1],
    "reversed columns": lambda x: x[:, ::-1],
    "reversed and stepped": lambda x: x[::-2, ::-3],
    "a window": lambda x: x[3:-2, 1:-5],
    "one row repeated": lambda x: mx.broadcast_to(x[:1], x.shape),
    "one column repeated": lambda x: mx.broadcast_to(x[:, :1], x.shape),
    "one value": lambda x: mx.broadcast_to(x[:1, :1], x.shape),
}


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("view", STRIDED)
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16], ids=str)
def test_strides(op: str, view: str, dtype: mx.Dtype, simd_level: str, rng: np.random.Generator) -> None:
    for transpose in (False, True):
        x = STRIDED[view](mx.array(rng.standard_normal((90, 70), dtype=np.float32)).astype(dtype))
        a = t(x) if transpose else x
        b = mx.array(operands(rng, op, *a.shape, 11)[1]).astype(dtype)
        check_product(op, a, b)
        left = mx.array(rng.standard_normal((a.shape[0], 21) if op == "gemm_at_b" else (21, a.shape[0])))
        check_product(op, left.astype(dtype), a)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), op=st.sampled_from(list(OPS)))
def test_any_shape(simd_level: str, op: str, data: st.DataObject) -> None:
    m, n, k = (data.draw(st.integers(0, most)) for most in (400, 300, 90))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    a, b = operands(rng, op, m, n, k)
    check_product(op, mx.array(a), mx.array(b))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_special_values_stay_in_their_place(op: str, value: float, simd_level: str, rng: np.random.Generator) -> None:
    a, b = operands(rng, op, 29, 35, 13)
    a[17, 34] = value
    got = np.isfinite(np.array(OPS[op](mx.array(a), mx.array(b))))
    touched = np.zeros_like(got)
    if op == "gemm_av":
        touched[17] = True
    else:
        touched[34 if op == "gemm_at_b" else slice(None)] = True
    assert (got == ~touched).all()
    b[3, 12] = value
    a[17, 34] = 0
    got = np.isfinite(np.array(OPS[op](mx.array(a), mx.array(b))))
    assert got[:, :12].all()
    assert not got[:, 12].any()


# --------------------------------------------------------------- determinism


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("shape", [(64, 16, 8), (5000, 130, 33), (40, 20000, 8), (20000, 40, 8)], ids=str)
def test_results_do_not_depend_on_threads(
    op: str, shape: tuple[int, int, int], simd_level: str, rng: np.random.Generator
) -> None:
    a, b = map(mx.array, operands(rng, op, *shape))
    before = _core.num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 5):
            _core.set_num_threads(threads)
            results += [np.array(OPS[op](a, b)) for _ in range(2)]
    finally:
        _core.set_num_threads(before)
    assert all((r == results[0]).all() for r in results)


# -------------------------------------------------------------------- batches

BATCHES = [((3,), (3,)), ((2, 3), (3,)), ((3,), (2, 1)), ((2, 1), (1, 3)), ((), (4,)), ((40,), (1,)), ((0,), (1,))]


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("batches", BATCHES, ids=str)
def test_batches(
    op: str, batches: tuple[tuple[int, ...], tuple[int, ...]], simd_level: str, rng: np.random.Generator
) -> None:
    a, b = operands(rng, op, 20, 13, 6)
    a = a + rng.standard_normal((*batches[0], 1, 1), dtype=np.float32)
    b = b + rng.standard_normal((*batches[1], 1, 1), dtype=np.float32)
    check_product(op, mx.array(a), mx.array(b))
    check_product(op, mx.array(np.ascontiguousarray(a[..., ::-1]))[..., ::-1], mx.array(b))


@pytest.mark.parametrize("op", OPS)
def test_transposed_batch_dimensions(op: str, simd_level: str, rng: np.random.Generator) -> None:
    a, b = map(mx.array, operands(rng, op, 9, 8, 7, (3, 5)))
    check_product(op, mx.swapaxes(a, 0, 1), mx.swapaxes(b, 0, 1))
    check_product(
        op, *(mx.moveaxis(mx.contiguous(mx.moveaxis(x, 0, -1)), -1, 0) for x in (a, b))
    )  # the batch innermost


@pytest.mark.parametrize("op", OPS)
def test_many_and_few_large_matrices(op: str, simd_level: str, rng: np.random.Generator) -> None:
    for batch, shape in ((1000, (16, 8, 4)), (2, (3000, 64, 40))):
        check_product(op, *map(mx.array, operands(rng, op, *shape, (batch,))))


def test_z_step_is_the_composition(simd_level: str, rng: np.random.Generator) -> None:
    a, v = map(mx.array, operands(rng, "z_step", 700, 90, 20))
    np.testing.assert_allclose(z_step(a, v), gemm_at_b(a, gemm_av(a, v)), rtol=1e-4, atol=1e-2)


# ----------------------------------------------------------------- transforms


def close(got: mx.array, want: mx.array) -> None:
    assert got.shape == want.shape
    scale = max(1.0, mx.abs(want).max().item()) if want.size else 1.0
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("batches", [((), ()), ((3,), (3,)), ((2, 3), (3,)), ((1,), (4,)), ((2, 1), (1, 3))], ids=str)
def test_gradients(op: str, batches: tuple[tuple[int, ...], tuple[int, ...]], rng: np.random.Generator) -> None:
    a, b = operands(rng, op, 12, 7, 5)
    a = mx.array(a + rng.standard_normal((*batches[0], 1, 1), dtype=np.float32))
    b = mx.array(b + rng.standard_normal((*batches[1], 1, 1), dtype=np.float32))
    weight = mx.random.normal(OPS[op](a, b).shape)

    def loss(f: Op) -> Callable[[mx.array, mx.array], mx.array]:
        return lambda x, y: (weight * f(x, y)).sum()

    value, got = mx.value_and_grad(loss(OPS[op]), argnums=(0, 1))(a, b)
    want_value, want = mx.value_and_grad(loss(lambda x, y: pure(op, x, y)), argnums=(0, 1))(a, b)
    close(value, want_value)
    for g, w in zip(got, want, strict=True):
        close(g, w)
    tangents = [mx.random.normal(a.shape), mx.random.normal(b.shape)]
    _, got_t = mx.jvp(OPS[op], [a, b], tangents)
    _, want_t = mx.jvp(lambda x, y: pure(op, x, y), [a, b], tangents)
    close(got_t[0], want_t[0])
    _, got_t = mx.jvp(lambda y: OPS[op](a, y), [b], tangents[1:])
    _, want_t = mx.jvp(lambda y: pure(op, a, y), [b], tangents[1:])
    close(got_t[0], want_t[0])


@pytest.mark.parametrize("op", OPS)
def test_second_derivative(op: str, rng: np.random.Generator) -> None:
    a, b = map(mx.array, operands(rng, op, 6, 5, 3))

    def norm_of_gradient(f: Op) -> Callable[[mx.array], mx.array]:
        return lambda x: mx.square(mx.grad(lambda y: mx.square(f(y, b)).sum())(x)).sum()

    close(mx.grad(norm_of_gradient(OPS[op]))(a), mx.grad(norm_of_gradient(lambda x, y: pure(op, x, y)))(a))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0), (1, 0), (2, 1), (-1, -1), (None, 2)], ids=str)
def test_vmap(op: str, axes: tuple[int | None, int | None], rng: np.random.Generator) -> None:
    a, b = map(mx.array, operands(rng, op, 6, 5, 4, (3,)))
    inputs = [x[0] if axis is None else mx.moveaxis(x, 0, axis) for x, axis in zip((a, b), axes, strict=True)]
    close(mx.vmap(OPS[op], axes)(*inputs), mx.vmap(lambda x, y: pure(op, x, y), axes)(*inputs))
    # The unmapped operand has a batch dimension of its own.
    if axes[0] == 0 and axes[1] is None:
        y = mx.stack([b[1], b[2]])
        close(mx.vmap(OPS[op], axes)(a, y), mx.stack([pure(op, x, y) for x in a]))


@pytest.mark.parametrize("op", OPS)
def test_compile(op: str, rng: np.random.Generator) -> None:
    f = OPS[op]
    a, b = map(mx.array, operands(rng, op, 10, 6, 4))

    def step(x: mx.array, y: mx.array) -> mx.array:
        return mx.exp(-mx.abs(f(x, y))) + 1

    want = step(a, b)
    close(mx.compile(step)(a, b), want)
    close(mx.compile(lambda x, y: mx.compile(step)(x, y) * 2)(a, b), want * 2)
    gradient = mx.grad(lambda x, y: step(x, y).sum())
    close(mx.compile(gradient)(a, b), gradient(a, b))
    shapeless = mx.compile(step, shapeless=True)
    shapeless_gradient = mx.compile(gradient, shapeless=True)
    for m, n, k in ((10, 6, 4), (33, 9, 2), (7, 40, 17)):
        a, b = map(mx.array, operands(rng, op, m, n, k))
        close(shapeless(a, b), step(a, b))
        close(shapeless_gradient(a, b), gradient(a, b))


def test_shapeless_compile_broadcasts_batches(rng: np.random.Generator) -> None:
    f = mx.compile(gemm_av, shapeless=True)
    for batch in (2, 5, 3):
        a, v = mx.array(operands(rng, "gemm_av", 4, 3, 2, (batch,))[0]), mx.ones((3, 2))
        close(f(a, v), mx.matmul(a, v))


# --------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("op", "a", "b", "message"),
    [
        (
            "gemm_av",
            (512, 256),
            (128, 32),
            r"\[gemm_av\] V must have 256 rows to match A \(512, 256\)\. Rec.*\(128",
        ),
        ("gemm_at_b", (5, 4), (4, 2), r"\[gemm_at_b\] B must have 5 rows to match A \(5, 4\)\. Received \(4, 2\)"),
        ("z_step", (5, 4), (5, 2), r"\[z_step\] V must have 4 rows"),
        ("gemm_av", (4,), (4, 2), r"\[gemm_av\] A must have at least 2 dimensions\. Received shape \(4,\)"),
        ("gemm_at_b", (4, 2), (4,), r"\[gemm_at_b\] B must have at least 2 dimensions"),
        ("z_step", (2, 5, 4), (3, 4, 2), r"\[z_step\] Batch dimensions must broadcast"),
    ],
)
def test_wrong_shapes(op: str, a: tuple[int, ...], b: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OPS[op](mx.zeros(a), mx.zeros(b))


@pytest.mark.parametrize("op", OPS)
def test_wrong_types(op: str) -> None:
    with pytest.raises(TypeError, match=rf"\[{op}\] Arrays must be float32, float16 or bfloat16. Received .*complex64"):
        OPS[op](mx.zeros((2, 2), dtype=mx.complex64), mx.zeros((2, 2)))
    with pytest.raises(TypeError):
        OPS[op]("A", mx.zeros((2, 2)))
