"""Exact search against a float64 oracle: the ids are those of float64 arithmetic, ties by id."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import faiss
import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from oracles.search import FLT_MAX, METRICS, check, scores

from metalfaiss import _core
from metalfaiss.distances import knn
from metalfaiss.metrics import METRIC_INNER_PRODUCT, METRIC_L2

# ------------------------------------------------------------------ sizes

SIZES = [
    (1, 1, 1, 1),
    (1, 7, 3, 2),
    (2, 65, 5, 3),
    (3, 300, 8, 10),
    (4, 129, 17, 64),
    (5, 15, 2, 4),
    (6, 16, 4, 20),
    (7, 33, 31, 1),
    (13, 257, 16, 5),
    (25, 1100, 12, 7),
    (40, 1030, 33, 100),
    (9, 300, 900, 10),  # more dimensions than one pass over d takes
]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sizes(simd_level, rng, size, metric):
    nq, nb, d, k = size
    check(rng.standard_normal((nq, d), dtype=np.float32), rng.standard_normal((nb, d), dtype=np.float32), k, metric)


@pytest.mark.parametrize("nq", [1, 3, 20])
def test_every_small_database(simd_level, rng, nq):
    for nb in range(1, 70):
        xq, xb = rng.integers(-2, 3, (nq, 3)), rng.integers(-2, 3, (nb, 3))
        check(xq.astype(np.float32), xb.astype(np.float32), 6, METRIC_L2, exact=True)


@pytest.mark.parametrize("d", [*range(1, 36), 383, 385])
def test_every_small_dimension(simd_level, rng, d):
    for nq in (1, 2, 12):
        xq, xb = rng.standard_normal((nq, d), dtype=np.float32), rng.standard_normal((70, d), dtype=np.float32)
        for metric in METRICS:
            check(xq, xb, 5, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("nq", "nb", "d", "k"), [(0, 5, 3, 2), (3, 0, 4, 2), (20, 0, 4, 2), (0, 0, 0, 1), (2, 3, 1, 9)]
)
def test_empty_and_padded(simd_level, metric, nq, nb, d, k):
    check(np.ones((nq, d), np.float32), np.ones((nb, d), np.float32), k, metric, exact=True)


@pytest.mark.parametrize("metric", METRICS)
def test_no_dimensions(metric):
    distances, ids = knn(mx.zeros((2, 0)), mx.zeros((3, 0)), 4, metric)
    worst = FLT_MAX if metric == METRIC_L2 else -FLT_MAX
    np.testing.assert_array_equal(np.array(ids), [[0, 1, 2, -1]] * 2)
    np.testing.assert_array_equal(np.array(distances), np.float32([[0, 0, 0, worst]] * 2))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("nq", [2, 150])
def test_large_k(simd_level, rng, nq, metric):  # also more candidates than one chunk of queries holds
    xq, xb = rng.standard_normal((nq, 4), dtype=np.float32), rng.standard_normal((4100, 4), dtype=np.float32)
    found = knn(mx.array(xq), mx.array(xb), 4000, metric)
    check(xq[::40], xb, 4000, metric, tuple(x[::40] for x in found))
    check(xq[:1], xb, 4200, metric)


# ------------------------------------------------------------------ ties and accuracy


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_ties_go_to_the_lower_id(data):
    nq, nb = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 200))
    d, k = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 40))
    small = st.integers(-1, 2).map(float)
    xq = data.draw(hnp.arrays(np.float32, (nq, d), elements=small, fill=small))
    xb = data.draw(hnp.arrays(np.float32, (nb, d), elements=small, fill=small))
    for metric in METRICS:
        check(xq, xb, k, metric, exact=True)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("nq", [2, 30])
def test_many_ties(simd_level, rng, nq, metric):
    xq = rng.integers(0, 3, (nq, 6)).astype(np.float32)
    check(xq, rng.integers(0, 3, (3000, 6)).astype(np.float32), 50, metric, exact=True)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("nq", [1, 8])
def test_identical_points(simd_level, rng, nq, metric):
    xb = np.tile(rng.standard_normal((1, 16), dtype=np.float32), (20000, 1))
    _, ids = knn(mx.array(rng.standard_normal((nq, 16), dtype=np.float32)), mx.array(xb), 10, metric)
    np.testing.assert_array_equal(np.array(ids), np.tile(np.arange(10), (nq, 1)))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("nq", [2, 20])
def test_far_from_the_origin(simd_level, rng, nq, metric):
    xq, xb = (1e4 + rng.standard_normal((n, 48)) for n in (nq, 3000))
    check(xq.astype(np.float32), xb.astype(np.float32), 20, metric)


@pytest.mark.parametrize("others", [300, 3000])  # the cloud is most of the rows, or far from most of them
@pytest.mark.parametrize("nq", [2, 20])
def test_near_duplicates(simd_level, rng, nq, others):
    center = rng.standard_normal((1, 32))
    cloud = center + 1e-6 * rng.standard_normal((1000, 32))
    xb = np.concatenate([10 * rng.standard_normal((others, 32)), cloud]).astype(np.float32)
    xq = (center + 1e-6 * rng.standard_normal((nq, 32))).astype(np.float32)
    for metric in METRICS:
        check(xq, xb, 15, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("nq", [3, 20])
@pytest.mark.parametrize("scale", [1e18, 1e30])
def test_outliers(simd_level, rng, nq, scale, metric):
    xb = rng.standard_normal((2000, 8), dtype=np.float32)
    xb[::100] *= np.float32(scale)
    xq = rng.standard_normal((nq, 8), dtype=np.float32)
    xq[1] *= np.float32(scale)
    check(xq, xb, 30, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("nq", [3, 20])
def test_mixed_norms(simd_level, rng, nq, metric):
    xb = (rng.standard_normal((2000, 10)) * 10.0 ** rng.uniform(-12, 12, (2000, 1))).astype(np.float32)
    xq = (rng.standard_normal((nq, 10)) * 10.0 ** rng.uniform(-12, 12, (nq, 1))).astype(np.float32)
    check(xq, xb, 30, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("nq", [3, 20])
@pytest.mark.parametrize("scale", [1e-20, 1e-30, 1e-42])
def test_tiny_values(simd_level, rng, nq, scale, metric):
    xq, xb = (scale * rng.standard_normal((n, 6)) for n in (nq, 400))
    distances, ids = (np.array(x) for x in knn(xq.astype(np.float32), xb.astype(np.float32), 10, metric))
    s = scores(xq.astype(np.float32), xb.astype(np.float32), metric)
    np.testing.assert_array_equal(ids, np.argsort(s, axis=1, kind="stable")[:, :10])
    best = np.take_along_axis(s, ids, 1) * (1 if metric == METRIC_L2 else -1)
    # A GPU sums pairs of float32, whose lower halves underflow here.
    rtol = 1e-5 if mx.default_device() == mx.gpu else 0
    np.testing.assert_allclose(distances, best.astype(np.float32), rtol=rtol)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("nq", [4, 25])
def test_nan_and_inf(simd_level, rng, nq, metric):
    xq, xb = rng.standard_normal((nq, 9), dtype=np.float32), rng.standard_normal((300, 9), dtype=np.float32)
    xb[3::7, 2], xb[5::11, 8], xb[6::13, 0] = np.nan, np.inf, -np.inf
    xq[1, 4], xq[2, 8] = np.nan, np.inf
    xb[200] = FLT_MAX
    xb[201] = -FLT_MAX
    check(xq, xb, 12, metric)
    check(xq, xb[3:4], 2, metric)
    check(xq, np.full_like(xb, np.nan), 3, metric)


@pytest.mark.parametrize("nq", [2, 20])
def test_zero_queries_and_rows(simd_level, rng, nq):
    xb = rng.standard_normal((500, 7), dtype=np.float32)
    xb[::3] = 0
    for metric in METRICS:
        check(np.zeros((nq, 7), np.float32), xb, 200, metric, exact=metric == METRIC_INNER_PRODUCT)


# ------------------------------------------------------------------ storage


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("nq", [1, 3, 30])
def test_half_types(simd_level, rng, nq, metric, dtype):
    xb = mx.array(rng.standard_normal((700, 21), dtype=np.float32)).astype(dtype)
    xq = mx.array(rng.standard_normal((nq, 21), dtype=np.float32))
    check(np.array(xq), np.array(xb.astype(mx.float32)), 9, metric, knn(xq, xb, 9, metric))
    half = xq.astype(dtype)
    check(np.array(half.astype(mx.float32)), np.array(xb.astype(mx.float32)), 9, metric, knn(half, xb, 9, metric))


def test_integers_and_float64(rng):
    xq, xb = rng.integers(0, 5, (6, 3)), rng.integers(0, 5, (50, 3))
    check(xq, xb, 8, METRIC_L2, knn(mx.array(xq), mx.array(xb), 8), exact=True)
    check(xq, xb, 8, METRIC_L2, knn(xq.astype(np.float64), xb.astype(np.float64), 8), exact=True)


STRIDES = {
    "columns": lambda x: mx.contiguous(x.T).T,
    "every other column": lambda x: mx.repeat(x, 2, axis=1)[:, ::2],
    "every other row": lambda x: mx.repeat(x, 2, axis=0)[::2],
    "reversed": lambda x: mx.contiguous(x[::-1, ::-1])[::-1, ::-1],
    "one row": lambda x: mx.broadcast_to(x[:1], x.shape),
}


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16], ids=str)
@pytest.mark.parametrize("view", STRIDES)
@pytest.mark.parametrize("nq", [2, 20])
def test_strides(simd_level, rng, nq, view, dtype):
    xb = STRIDES[view](mx.array(rng.standard_normal((300, 13), dtype=np.float32)).astype(dtype))
    xq = STRIDES[view](mx.array(rng.standard_normal((nq, 13), dtype=np.float32)))
    for metric in METRICS:
        check(np.array(xq), np.array(xb.astype(mx.float32)), 7, metric, knn(xq, xb, 7, metric))


BATCHES = [
    ((3,), ()),
    ((), (3,)),
    ((3,), (1,)),
    ((2, 1), (3,)),
    ((2, 3), (2, 3)),
    ((0,), ()),
    ((), (0,)),
    ((40,), (40,)),
]


@pytest.mark.parametrize(("bq", "bb"), BATCHES, ids=str)
def test_batches(simd_level, rng, bq, bb):
    xq = mx.array(rng.standard_normal((*bq, 5, 4), dtype=np.float32))
    xb = mx.array(rng.standard_normal((*bb, 30, 4), dtype=np.float32))
    distances, ids = knn(xq, xb, 3)
    batch = np.broadcast_shapes(bq, bb)
    assert distances.shape == ids.shape == (*batch, 5, 3)
    q = np.broadcast_to(np.array(xq), (*batch, 5, 4)).reshape(-1, 5, 4)
    b = np.broadcast_to(np.array(xb), (*batch, 30, 4)).reshape(-1, 30, 4)
    for i, (d, n) in enumerate(zip(distances.reshape(-1, 5, 3), ids.reshape(-1, 5, 3), strict=True)):
        check(q[i], b[i], 3, METRIC_L2, (d, n))


def test_numpy_in_numpy_out(rng):
    xq, xb = rng.standard_normal((4, 6), dtype=np.float32), rng.standard_normal((50, 6), dtype=np.float32)
    found = knn(xq, xb, 3)
    assert all(isinstance(x, np.ndarray) for x in found)
    check(xq, xb, 3, METRIC_L2, found)
    assert all(isinstance(x, mx.array) for x in knn(mx.array(xq), xb, 3))
    assert all(isinstance(x, mx.array) for x in knn(xq, mx.array(xb), 3))


def test_same_as_faiss(simd_level, rng):
    xq, xb = rng.standard_normal((50, 32), dtype=np.float32), rng.standard_normal((2000, 32), dtype=np.float32)
    for metric in METRICS:
        distances, ids = knn(xq, xb, 10, metric)
        expected, expected_ids = faiss.knn(xq, xb, 10, metric=metric)
        np.testing.assert_array_equal(ids, expected_ids)
        np.testing.assert_allclose(distances, expected, rtol=1e-4)


# ------------------------------------------------------------------ threads and memory


@pytest.mark.parametrize("size", [(1, 5000, 40, 10), (60, 5000, 40, 100), (1000, 300, 20, 5)], ids=str)
def test_threads_do_not_change_results(rng, size):
    nq, nb, d, k = size
    xq = mx.array(rng.standard_normal((nq, d), dtype=np.float32))
    xb = mx.array(rng.integers(-3, 4, (nb, d)).astype(np.float32))
    before = _core.num_threads()
    try:
        found = []
        for threads in (1, 2, 3, 8):
            _core.set_num_threads(threads)
            found.append([np.array(x) for x in knn(xq, xb, k)])
    finally:
        _core.set_num_threads(before)
    for other in found[1:]:
        np.testing.assert_array_equal(other[0], found[0][0])
        np.testing.assert_array_equal(other[1], found[0][1])


def test_concurrent_searches(rng):
    xb = mx.array(rng.standard_normal((3000, 24), dtype=np.float32))
    queries = [rng.standard_normal((nq, 24), dtype=np.float32) for nq in (1, 4, 17, 50) * 4]
    mx.eval(xb)

    def search(xq):  # MLX's default stream belongs to the thread
        found = knn(mx.array(xq), xb, 20, stream=mx.new_stream(mx.cpu))
        mx.eval(*found)
        return tuple(np.array(x) for x in found)

    with ThreadPoolExecutor(4) as pool:
        for xq, found in zip(queries, pool.map(search, queries), strict=True):
            check(xq, np.array(xb), 20, METRIC_L2, found)


MEMORY = """
import resource, sys, mlx.core as mx, numpy as np
from metalfaiss.distances import knn
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
held = np.empty(({nb}, 64), dtype=np.float32)  # filled in place and kept: the peak before is what is in use
np.random.default_rng(0).standard_normal(out=held, dtype=np.float32)
xb, xq = mx.array(held), mx.array(held[:200])
mx.eval(xq, xb)
before = peak()
for n in (1, 200):
    for metric in (0, 1):
        mx.eval(knn(xq[:n], xb, 10, metric))
print(peak() - before)
"""


@pytest.mark.skipif(bool(_core.gpu_kernels()), reason="measures the host's memory, with the GPU's driver in it")
@pytest.mark.skipif(sys.platform == "win32", reason="ru_maxrss")
def test_memory_is_bounded():
    run = subprocess.run([sys.executable, "-c", MEMORY.format(nb=300_000)], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 64  # MiB; (nq, nb) would be 229


# ------------------------------------------------------------------ transforms


def pure(xq, xb, k, metric):
    """The distances by MLX operations from the ids: what the derivatives must be."""
    ids = mx.stop_gradient(knn(xq, xb, k, metric)[1])
    batch = np.broadcast_shapes(xq.shape[:-2], xb.shape[:-2])
    b = mx.broadcast_to(xb, (*batch, *xb.shape[-2:]))
    flat = mx.maximum(ids, 0).reshape(*batch, -1)[..., None]
    rows = mx.take_along_axis(b, flat, axis=-2).reshape(*ids.shape, xb.shape[-1])
    q = xq[..., None, :]
    distances = ((q - rows) ** 2).sum(-1) if metric == METRIC_L2 else (q * rows).sum(-1)
    return mx.where(ids >= 0, distances, 0)


SHAPES = [
    ((5, 4), (20, 4)),
    ((5, 4), (2, 4)),
    ((3, 5, 4), (20, 4)),
    ((3, 5, 4), (1, 20, 4)),
    ((3, 5, 4), (3, 20, 4)),
    ((5, 4), (3, 20, 4)),
    ((2, 1, 5, 4), (3, 20, 4)),
]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_vjp_and_jvp(shapes, metric):
    arrays, tangents = ([mx.random.normal(s) for s in shapes] for _ in range(2))
    distances = knn(*arrays, 3, metric)[0]
    ours, theirs = (
        mx.vjp(f, arrays, [mx.ones_like(distances) * mx.arange(3.0)])[1]
        for f in (lambda q, b: knn(q, b, 3, metric)[0], lambda q, b: pure(q, b, 3, metric))
    )
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(np.array(a), np.array(b), rtol=1e-5, atol=1e-5)
    (ours, of_ids), theirs = (
        mx.jvp(f, arrays, tangents)[1]
        for f in (lambda q, b: knn(q, b, 3, metric), lambda q, b: [pure(q, b, 3, metric)])
    )
    np.testing.assert_allclose(np.array(ours), np.array(theirs[0]), rtol=1e-5, atol=1e-5)
    assert not np.array(of_ids).any()


@pytest.mark.parametrize("metric", METRICS)
def test_gradients_by_finite_differences(rng, metric):
    xq, xb, g = rng.standard_normal((4, 3)), rng.standard_normal((30, 3)), rng.standard_normal((4, 2))
    xq, xb = xq.astype(np.float32).astype(np.float64), xb.astype(np.float32).astype(np.float64)
    ids = knn(xq, xb, 2, metric)[1]

    def loss(q, b):
        rows = b[ids]
        return (g * (((q[:, None] - rows) ** 2) if metric == METRIC_L2 else q[:, None] * rows).sum(-1)).sum()

    _, grads = mx.vjp(
        lambda q, b: knn(q, b, 2, metric)[0],
        [mx.array(xq.astype(np.float32)), mx.array(xb.astype(np.float32))],
        [mx.array(g.astype(np.float32))],
    )
    for i, x in enumerate((xq, xb)):
        numeric = np.zeros_like(x)
        for at in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[at] = 1e-5
            plus, minus = ((xq + s, xb) if i == 0 else (xq, xb + s) for s in (step, -step))
            numeric[at] = (loss(*plus) - loss(*minus)) / 2e-5
        np.testing.assert_allclose(np.array(grads[i]), numeric, rtol=1e-4, atol=1e-5)


def test_gradient_details():
    xq, xb = mx.random.normal((3, 4)), mx.random.normal((9, 4))
    half = mx.grad(lambda b: knn(xq, b, 2)[0].sum())(xb.astype(mx.bfloat16))
    assert half.dtype == mx.bfloat16
    for nq, nb in ((3, 0), (0, 9)):
        gq, gb = mx.grad(lambda q, b: knn(q, b, 2)[0].sum(), argnums=(0, 1))(xq[:nq], xb[:nb])
        assert gq.shape == (nq, 4)
        assert gb.shape == (nb, 4)
        assert not np.array(gq).any()
        assert not np.array(gb).any()
    bad = mx.where(mx.arange(9)[:, None] == 0, float("nan"), xb)  # a missing id must not touch row 0
    gq, gb = mx.grad(lambda q, b: knn(q, b, 9)[0].sum(), argnums=(0, 1))(xq, bad)
    assert np.isfinite(np.array(gq)).all()
    assert np.isfinite(np.array(gb)).all()
    second = mx.grad(lambda q: (mx.grad(lambda q: knn(q, xb, 2)[0].sum())(q) ** 2).sum())(xq)
    first = mx.grad(lambda q: knn(q, xb, 2)[0].sum())(xq)
    np.testing.assert_allclose(np.array(second), 8 * np.array(first), rtol=1e-5)  # d|g|^2 = 2 g dg, dg = 2 k


@pytest.mark.parametrize("axes", [(0, None), (0, 0), (None, 0), (1, None), (2, 1), (None, 2)], ids=str)
def test_vmap(axes):
    xq, xb = mx.random.normal((4, 5, 3)), mx.random.normal((4, 20, 3))
    args = [x[0] if a is None else mx.moveaxis(x, 0, a) for x, a in zip((xq, xb), axes, strict=True)]
    distances, ids = mx.vmap(lambda q, b: knn(q, b, 3), in_axes=axes)(*args)
    for i in range(4):
        expected = knn(xq[0 if axes[0] is None else i], xb[0 if axes[1] is None else i], 3)
        np.testing.assert_array_equal(np.array(distances[i]), np.array(expected[0]))
        np.testing.assert_array_equal(np.array(ids[i]), np.array(expected[1]))


def test_compile():
    xq, xb = mx.random.normal((6, 5)), mx.random.normal((40, 5))
    inner = mx.compile(lambda q, b: knn(q, b, 4))
    nested = mx.compile(lambda q, b: inner(2 * q, b)[0] + 1)
    np.testing.assert_array_equal(np.array(nested(xq, xb)), np.array(knn(2 * xq, xb, 4)[0] + 1))


@pytest.mark.parametrize("shapes", SHAPES[2:], ids=str)
def test_shapeless_compile_with_gradients(shapes):
    def loss(search):
        return lambda q, b: search(q, b, 3, METRIC_L2).sum()

    ours = mx.compile(mx.value_and_grad(loss(lambda *a: knn(*a)[0]), argnums=(0, 1)), shapeless=True)
    for more_queries, more_rows in ((0, 0), (3, 11), (9, 2)):
        q, b = shapes
        xq = mx.random.normal((*q[:-2], q[-2] + more_queries, 4))
        xb = mx.random.normal((*b[:-2], b[-2] + more_rows, 4))
        value, grads = ours(xq, xb)
        expected, expected_grads = mx.value_and_grad(loss(pure), argnums=(0, 1))(xq, xb)
        np.testing.assert_allclose(value.item(), expected.item(), rtol=1e-5)
        for a, e in zip(grads, expected_grads, strict=True):
            np.testing.assert_allclose(np.array(a), np.array(e), rtol=1e-5, atol=1e-5)


def test_is_lazy_and_runs_where_asked():
    xq, xb = mx.random.normal((6, 5)), mx.random.normal((40, 5))
    stream = mx.new_stream(mx.cpu)
    there, here = (knn(xq, xb, 4, stream=s)[1] for s in (stream, mx.cpu))
    np.testing.assert_array_equal(np.array(there), np.array(here))


# ------------------------------------------------------------------ errors

X = mx.zeros((3, 4))
ERRORS = [
    (ValueError, (X, X, 0), r"\[knn\] k must be at least 1 and less than 2\^31. Received 0."),
    (ValueError, (X, X, -2), r"\[knn\] k must be at least 1 and less than 2\^31. Received -2."),
    (TypeError, (X, X, 1.5), r"\[knn\] k must be an int. Received 1.5 of type float."),
    (TypeError, (X, X, 1, "L2"), r"\[knn\] metric must be an int. Received 'L2' of type str."),
    (ValueError, (X, X, 1, 7), r"\[knn\] metric must be one of FAISS's numbers 0 to 4 and 20 to 25. Received 7."),
    (ValueError, (X, X[:, :3], 1), r"same number of columns. Received \(3, 4\) and \(3, 3\)."),
    (ValueError, (X[0], X, 1), r"\[knn\] xq must have at least 2 dimensions. Received shape \(4,\)."),
    (ValueError, (X, X[0], 1), r"\[knn\] xb must have at least 2 dimensions. Received shape \(4,\)."),
    (ValueError, (mx.zeros((2, 3, 4)), mx.zeros((3, 3, 4)), 1), r"\[knn\] Batch dimensions must broadcast."),
    (TypeError, (X.astype(mx.complex64), X, 1), r"\[knn\] Arrays must be float32, float16 or bfloat16."),
    (TypeError, (X, X.astype(mx.complex64), 1), r"\[knn\] Arrays must be float32, float16 or bfloat16."),
]


@pytest.mark.parametrize(("error", "args", "message"), ERRORS)
def test_errors(error, args, message):
    with pytest.raises(error, match=message):
        knn(*args)


@pytest.mark.skipif(bool(_core.gpu_kernels()), reason="needs a build without GPU kernels")
def test_gpu_streams_are_refused():
    with pytest.raises(ValueError, match=r"GPU|gpu"):  # without a GPU, MLX itself refuses
        knn(X, X, 1, stream=mx.gpu)


@pytest.mark.skipif(mx.is_available(mx.gpu), reason="there is a GPU")
@pytest.mark.parametrize("stream", [mx.gpu, mx.Device(mx.gpu)])
def test_a_gpu_that_is_not_there(stream: mx.Device) -> None:
    x = mx.zeros((3, 2))
    with pytest.raises(ValueError, match=r"\[knn\] This machine must have a GPU .*: pass stream=mx.cpu"):
        knn(x, x, 1, stream=stream)
