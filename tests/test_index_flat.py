"""Exact search through the index classes: FAISS's behaviour, the accuracy contract, laziness, transforms."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import faiss
import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import metalfaiss
from metalfaiss import METRIC_INNER_PRODUCT, METRIC_L2, IndexFlat, IndexFlatIP, IndexFlatL2, _core
from metalfaiss.indexes import _chunks

FLAT = [IndexFlatL2, IndexFlatIP]
WORST = {METRIC_L2: np.finfo(np.float32).max, METRIC_INNER_PRODUCT: np.finfo(np.float32).min}


@pytest.fixture(autouse=True, scope="module", params=[0, _chunks.SMALL], ids=["merged", "waiting"])
def small_chunks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test with small chunks merged at once, and with small chunks that wait."""
    before, _chunks.SMALL = _chunks.SMALL, request.param
    yield
    _chunks.SMALL = before


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def all_distances(xq: np.ndarray, xb: np.ndarray, metric: int) -> np.ndarray:
    """In float64, from differences."""
    q, b = xq.astype(np.float64), xb.astype(np.float64)
    if metric == METRIC_INNER_PRODUCT:
        return q @ b.T
    return np.stack([((row - b) ** 2).sum(1) for row in q]) if len(q) else np.zeros((0, len(b)))


def check_exact(D: np.ndarray, I: np.ndarray, xq: np.ndarray, xb: np.ndarray, k: int, metric: int) -> None:
    """The accuracy contract: ids of a float64 computation unless within 1e-6, distances within 1e-5, both relative."""
    assert D.dtype == np.float32
    assert I.dtype == np.int64
    assert D.shape == I.shape == (len(xq), k)
    exact = all_distances(xq, xb, metric)
    sign = 1 if metric == METRIC_L2 else -1
    order = np.argsort(sign * exact, axis=1, kind="stable")[:, :k]
    found = min(k, len(xb))
    assert (I[:, found:] == -1).all()
    assert (D[:, found:] == WORST[metric]).all()
    I, D = I[:, :found], D[:, :found]
    assert all(len(set(row)) == found for row in I.tolist())
    of_ours, of_oracle = np.take_along_axis(exact, I, 1), np.take_along_axis(exact, order, 1)
    if metric == METRIC_L2:
        scale = np.abs(of_oracle)
    else:  # an inner product near zero has the scale of its terms
        terms = np.abs(xq).astype(np.float64) @ np.abs(xb).astype(np.float64).T
        scale = np.take_along_axis(terms, order, 1)
    assert (np.abs(of_ours - of_oracle) <= 1e-6 * scale).all()
    assert (np.abs(D - of_ours) <= 1e-5 * scale + 1e-30).all()


def built(kind: Callable[..., Any], x: np.ndarray, **options: Any) -> Any:
    index = kind(x.shape[1], **options)
    index.add(x)
    return index


# ------------------------------------------------------------------------------------------- results


@pytest.mark.parametrize("kind", FLAT)
@pytest.mark.parametrize("k", [1, 10, 300, 320])
def test_same_as_faiss(kind: Any, k: int, simd_level: str) -> None:
    xb, xq = normal(300, 33), normal(20, 33, seed=1)
    theirs = getattr(faiss, kind.__name__)(33)
    theirs.add(xb)
    D, I = built(kind, xb).search(xq, k)
    D_faiss, I_faiss = theirs.search(xq, k)
    same = np.equal(I, I_faiss)
    assert same.mean() > 0.999  # FAISS rounds: near ties may swap
    np.testing.assert_allclose(D[same], D_faiss[same], rtol=2e-4, atol=2e-4)
    check_exact(D, I, xq, xb, k, kind(1).metric_type)


@pytest.mark.parametrize("kind", FLAT)
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_storage_dtypes_search_the_stored_values(kind: Any, dtype: mx.Dtype, simd_level: str) -> None:
    xb, xq = normal(200, 24), normal(9, 24, seed=1)
    index = built(kind, xb, dtype=dtype)
    stored = np.array(mx.array(xb).astype(dtype).astype(mx.float32))
    assert index.code_size == 24 * dtype.size
    np.testing.assert_array_equal(index.reconstruct_n(), stored)
    check_exact(*index.search(xq, 7), xq, stored, 7, index.metric_type)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16])
def test_far_from_the_origin(dtype: mx.Dtype, simd_level: str) -> None:
    xb, xq = 1e4 + normal(500, 48), 1e4 + normal(20, 48, seed=1)
    stored = np.array(mx.array(xb).astype(dtype).astype(mx.float32))
    check_exact(*built(IndexFlatL2, xb, dtype=dtype).search(xq, 10), xq, stored, 10, METRIC_L2)
    check_exact(*built(IndexFlatIP, xb, dtype=dtype).search(xq, 10), xq, stored, 10, METRIC_INNER_PRODUCT)


@pytest.mark.parametrize("chunked", [False, True])
def test_near_duplicates(chunked: bool, simd_level: str) -> None:
    base = normal(1, 32) * 10
    xb = base + 1e-5 * normal(400, 32, seed=1)
    index = IndexFlatL2(32)
    for part in np.split(xb, [360, 390, 399]) if chunked else [xb]:
        index.add(part)
    assert len(index._chunks) >= (3 if chunked else 1)
    check_exact(*index.search(xb[:30], 10), xb[:30], xb, 10, METRIC_L2)


@pytest.mark.parametrize("kind", FLAT)
def test_ties_go_to_the_lower_id_across_chunks(kind: Any) -> None:
    row = normal(1, 8)
    index = kind(8)
    for n in (50, 5, 1):
        index.add(np.repeat(row, n, 0))
    assert len(index._chunks) > 1
    D, I = index.search(row, 56)
    assert I.tolist() == [list(range(56))]
    assert len(set(D[0].tolist())) == 1


@pytest.mark.parametrize("kind", FLAT)
def test_the_layout_of_chunks_does_not_show(kind: Any, simd_level: str) -> None:
    xb, xq = normal(679, 19), normal(40, 19, seed=1)
    whole, parts = built(kind, xb), kind(19)
    for part in np.split(xb, [600, 670, 678]):
        parts.add(part)
    assert len(parts._chunks) == 4
    for k in (1, 5, 44, 200, 679, 750):
        for ours, wanted in zip(parts.search(xq, k), whole.search(xq, k), strict=True):
            np.testing.assert_array_equal(ours, wanted)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=0, max_size=6),
    d=st.integers(1, 20),
    nq=st.integers(0, 5),
    k=st.integers(1, 60),
    metric=st.sampled_from([METRIC_L2, METRIC_INNER_PRODUCT]),
    data=st.randoms(use_true_random=False),
)
def test_any_sizes(sizes: list[int], d: int, nq: int, k: int, metric: int, data: Any) -> None:
    seed = data.randrange(2**32)
    xb, xq = normal(sum(sizes), d, seed=seed), normal(nq, d, seed=seed + 1)
    index = IndexFlat(d, metric)
    start = 0
    for n in sizes:
        index.add(xb[start : start + n])
        start += n
    assert index.ntotal == len(xb)
    check_exact(*index.search(xq, k), xq, xb, k, metric)
    np.testing.assert_array_equal(index.reconstruct_n(), xb)
    ids = np.arange(len(xb))[::-2]
    np.testing.assert_array_equal(index.reconstruct_batch(ids), xb[ids])


@pytest.mark.parametrize("kind", FLAT)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("chunked", [False, True])
def test_not_finite(kind: Any, bad: float, chunked: bool, simd_level: str) -> None:
    """A distance that is not finite makes no result: its place is padded."""
    xb, xq = normal(60, 12), normal(4, 12, seed=1)
    xb[[3, 57]] = bad  # NaN, or an infinite distance to every query
    xq[2] = bad
    index = kind(12)
    for part in np.split(xb, [55]) if chunked else [xb]:
        index.add(part)
    D, I = index.search(xq, 60)
    worst = WORST[index.metric_type]
    good = np.delete(np.arange(60), [3, 57])
    for row in (0, 1, 3):
        np.testing.assert_array_equal(np.sort(I[row, :58]), good)
        assert np.isfinite(D[row]).all()
        assert I[row, 58:].tolist() == [-1, -1]
        assert (D[row, 58:] == worst).all()
    assert (I[2] == -1).all()
    assert (D[2] == worst).all()


# -------------------------------------------------------------------------------- what goes in and out


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.astype(np.float64),
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, 0)[::2],
        lambda x: np.repeat(x, 2, 1)[:, ::2],
        lambda x: x[::-1].copy()[::-1],
        lambda x: x[:, ::-1].copy()[:, ::-1],
        lambda x: x.astype(">f4"),
        lambda x: x.astype(np.int64),
        lambda x: x.astype(np.uint8),
        lambda x: x > 0,
    ],
)
def test_numpy_layouts_and_dtypes(view: Callable[[np.ndarray], np.ndarray]) -> None:
    x = np.abs(normal(50, 16)).round(2) * 50
    xv = view(x)
    wanted = built(IndexFlatL2, np.ascontiguousarray(xv, dtype=np.float32))
    index = built(IndexFlatL2, xv)
    for ours, theirs in zip(index.search(xv[:5], 4), wanted.search(xv[:5].astype(np.float32), 4), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16, mx.int32, mx.uint8, mx.bool_])
def test_mlx_layouts_and_dtypes(dtype: mx.Dtype) -> None:
    x = mx.array(np.abs(normal(16, 50)) * 50).astype(dtype).T
    index = IndexFlatL2(16)
    index.add(x)
    D, I = index.search(x[:5], 4)
    assert (D.dtype, I.dtype) == (mx.float32, mx.int64)
    stored = np.array(x.astype(mx.float32))
    check_exact(np.array(D), np.array(I), stored[:5], stored, 4, METRIC_L2)


def test_mlx_in_lazy_mlx_out() -> None:
    source = mx.array(normal(30, 8))
    x = mx.multiply(source, 2.0)
    index = IndexFlatL2(8)
    index.add(x)
    D, I = index.search(x, 3)
    labels = index.assign(x, 3)
    vector, several, rows = index.reconstruct(2), index.reconstruct_n(1, 5), index.reconstruct_batch([4, 1])
    for lazy in (x, *index._chunks, D, I, labels, vector, several, rows):
        assert isinstance(lazy, mx.array)
        assert not _core.is_evaluated(lazy)
    assert I[:, 0].tolist() == list(range(30))
    assert mx.array_equal(labels, I)
    assert mx.array_equal(vector, x[2])
    assert mx.array_equal(several, x[1:6])
    assert mx.array_equal(rows, x[mx.array([4, 1])])


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_what_is_made_of_evaluated_vectors_is_evaluated(dtype: mx.Dtype) -> None:
    index = IndexFlatL2(4, dtype=dtype)
    for n in (5, 5, 90, 2):
        index.add(mx.array(normal(n, 4)))
    assert all(_core.is_evaluated(chunk) for chunk in index._chunks)


def test_queries_choose_the_kind_of_the_results() -> None:
    x = normal(20, 4)
    ours, mixed = built(IndexFlatL2, x), IndexFlatL2(4)
    mixed.add(mx.array(x))
    for index in (ours, mixed):
        D, I = index.search(x[:2], 3)
        assert type(D) is type(I) is type(index.assign(x[:2], 3)) is np.ndarray
        lazy, _ = index.search(mx.array(x[:2]), 3)
        assert isinstance(lazy, mx.array)
        np.testing.assert_array_equal(D, np.array(lazy))
    assert isinstance(ours.reconstruct(0), np.ndarray)
    assert isinstance(mixed.reconstruct(0), mx.array)
    mixed.reset()
    mixed.add(x)
    assert isinstance(mixed.reconstruct(0), np.ndarray)


def test_results_are_the_callers() -> None:
    index = built(IndexFlatL2, normal(20, 4))
    for array in (*index.search(normal(2, 4), 3), index.reconstruct(1), index.reconstruct_n()):
        assert array.flags.writeable
        assert array.flags.c_contiguous
        array[:] = 0
    np.testing.assert_array_equal(index.reconstruct_n(), normal(20, 4))


def test_stored_vectors_are_the_indexs() -> None:
    x, lazy = normal(20, 4), mx.array(normal(20, 4))
    ours, theirs = built(IndexFlatL2, x), IndexFlatL2(4)
    theirs.add(lazy)
    x[0], lazy[0] = 7, 7
    lazy += 1
    np.testing.assert_array_equal(ours.reconstruct_n(), normal(20, 4))
    np.testing.assert_array_equal(np.array(theirs.reconstruct_n()), normal(20, 4))


def test_output_arrays() -> None:
    x = normal(20, 4)
    index = built(IndexFlatL2, x)
    D, I = np.empty((3, 5), np.float32), np.empty((6, 5), np.int64)[::2]
    got = index.search(x[:3], 5, D=D, I=I)
    assert got[0] is D
    assert got[1] is I
    labels = np.empty((3, 5), np.int64)
    assert index.assign(x[:3], 5, labels) is labels
    for ours, wanted in zip((D, I, labels), (*index.search(x[:3], 5), index.assign(x[:3], 5)), strict=True):
        np.testing.assert_array_equal(ours, wanted)
    one, several, batch = np.empty(4, np.float32), np.empty((2, 4), np.float32), np.empty((2, 4), np.float32)
    assert index.reconstruct(3, one) is one
    assert index.reconstruct_n(3, 2, several) is several
    assert index.reconstruct_batch([3, 4], batch) is batch
    np.testing.assert_array_equal(one, x[3])
    np.testing.assert_array_equal(several, x[3:5])
    np.testing.assert_array_equal(batch, x[3:5])


def test_empty() -> None:
    for index in (IndexFlatL2(4), IndexFlatIP(4, dtype=mx.bfloat16)):
        D, I = index.search(normal(2, 4), 3)
        assert (I == -1).all()
        assert np.equal(D, WORST[index.metric_type]).all()
        index.add(normal(0, 4))
        index.add(mx.zeros((0, 4)))
        assert index.ntotal == 0
        assert index.reconstruct_n().shape == (0, 4)
        index.add(normal(5, 4))
        D, I = index.search(normal(0, 4), 3)
        assert D.shape == I.shape == (0, 3)
        assert index.assign(normal(0, 4), 2).shape == (0, 2)
        assert index.reconstruct_batch([]).shape == (0, 4)
        index.add(normal(0, 4))
        assert index.ntotal == 5


# ------------------------------------------------------------------------------------------- interface


def test_attributes() -> None:
    index = IndexFlatL2(8)
    assert (index.d, index.ntotal, index.is_trained, index.metric_type) == (8, 0, True, METRIC_L2)
    assert (index.metric_arg, index.verbose, index.dtype, index.code_size) == (0.0, False, mx.float32, 32)
    assert IndexFlatIP(8).metric_type == IndexFlat(8, METRIC_INNER_PRODUCT).metric_type == METRIC_INNER_PRODUCT
    assert IndexFlat(np.int64(8)).metric_type == METRIC_L2
    assert METRIC_L2 == faiss.METRIC_L2
    assert METRIC_INNER_PRODUCT == faiss.METRIC_INNER_PRODUCT
    index.verbose = True
    index.train(normal(3, 8))
    assert index.ntotal == 0
    with pytest.raises(AttributeError):
        index.nprobe = 3  # as in FAISS, a misspelt setting does not pass
    assert not hasattr(index, "__len__")


def test_isinstance() -> None:
    assert issubclass(IndexFlatL2, IndexFlat)
    assert isinstance(IndexFlatIP(2), metalfaiss.Index)


def test_repr() -> None:
    index = built(IndexFlatL2, normal(3, 8))
    assert repr(index) == "IndexFlatL2(8, dtype=mlx.core.float32, ntotal=3)"
    assert repr(IndexFlat(2, METRIC_INNER_PRODUCT, dtype=mx.float16)) == (
        "IndexFlat(2, METRIC_INNER_PRODUCT, dtype=mlx.core.float16, ntotal=0)"
    )


def test_reset() -> None:
    index = built(IndexFlatL2, normal(30, 4))
    index.reset()
    assert index.ntotal == 0
    assert (index.search(normal(1, 4), 2)[1] == -1).all()
    index.add(normal(3, 4))
    assert index.search(normal(1, 4), 1)[1].tolist() == [[0]]


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda index: pickle.loads(pickle.dumps(index))], ids=["c", "d", "p"]
)
def test_copies(duplicate: Callable[[Any], Any], dtype: mx.Dtype) -> None:
    index = built(IndexFlatIP, normal(30, 4), dtype=dtype)
    index.add(mx.multiply(mx.array(normal(2, 4)), 2))
    index.verbose = True
    other = duplicate(index)
    assert type(other) is IndexFlatIP
    assert repr(other) == repr(index)
    assert other.verbose
    for ours, wanted in zip(other.search(normal(3, 4), 5), index.search(normal(3, 4), 5), strict=True):
        np.testing.assert_array_equal(ours, wanted)
    other.add(normal(4, 4))
    assert (index.ntotal, other.ntotal) == (32, 36)
    index.reset()
    assert other.ntotal == 36


def test_reconstruct_batch_of_lazy_ids() -> None:
    x = normal(20, 4)
    index = IndexFlatL2(4)
    for part in np.split(x, [18]):
        index.add(part)
    got = np.array(index.reconstruct_batch(mx.array([19, -1, 0, 20, 17])))
    np.testing.assert_array_equal(got[[0, 2, 4]], x[[19, 0, 17]])
    assert np.isnan(got[[1, 3]]).all()


# ---------------------------------------------------------------------------------------------- errors


def raises(error: type[Exception], message: str, call: Callable[[], object]) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


def test_constructor_errors() -> None:
    raises(ValueError, "[IndexFlatL2] d must be at least 1. Received 0.", lambda: IndexFlatL2(0))
    raises(TypeError, "[IndexFlatIP] d must be an int. Received 2.0 of type float.", lambda: IndexFlatIP(2.0))  # type: ignore[arg-type]
    raises(
        ValueError,
        "[IndexFlat] metric must be one of METRIC_INNER_PRODUCT (0), METRIC_L2 (1), METRIC_L1 (2), METRIC_Linf (3), "
        "METRIC_Lp (4), METRIC_Canberra (20), METRIC_BrayCurtis (21), METRIC_JensenShannon (22), METRIC_Jaccard (23), "
        "METRIC_NaNEuclidean (24), METRIC_GOWER (25). Received 5.",
        lambda: IndexFlat(4, 5),
    )
    raises(
        ValueError,
        "[IndexFlatL2] dtype must be mx.float32, mx.float16 or mx.bfloat16. Received mlx.core.int8.",
        lambda: IndexFlatL2(4, dtype=mx.int8),
    )


@pytest.mark.parametrize("method", ["train", "add", "search", "assign"])
@pytest.mark.parametrize("lazy", [False, True])
def test_shape_and_dtype_errors(method: str, lazy: bool) -> None:
    index = built(IndexFlatL2, normal(9, 128))
    make = mx.array if lazy else np.array
    k = (3,) if method in ("search", "assign") else ()
    op = f"[IndexFlatL2.{method}]"

    def call(x: object) -> Callable[[], object]:
        return lambda: getattr(index, method)(x, *k)

    raises(ValueError, f"{op} x must have shape (n, 128). Received (3, 64).", call(make(normal(3, 64))))
    raises(ValueError, f"{op} x must have shape (n, 128). Received (128,).", call(make(normal(128))))
    raises(ValueError, f"{op} x must have shape (n, 128). Received (1, 2, 128).", call(make(normal(1, 2, 128))))
    complex64 = "mlx.core.complex64" if lazy else "complex64"
    raises(
        TypeError, f"{op} x must hold real numbers. Received {complex64}.", call(make(np.ones((2, 128), np.complex64)))
    )
    raises(
        TypeError, f"{op} x must be a numpy.ndarray or an mlx.core.array. Received list.", call(normal(2, 128).tolist())
    )
    if not lazy:
        raises(TypeError, f"{op} x must hold real numbers. Received object.", call(np.full((2, 128), None)))
    assert index.ntotal == 9


@pytest.mark.parametrize("method", ["search", "assign"])
def test_k_errors(method: str) -> None:
    search = getattr(built(IndexFlatL2, normal(9, 4)), method)
    op = f"[IndexFlatL2.{method}]"
    raises(ValueError, f"{op} k must be at least 1. Received 0.", lambda: search(normal(2, 4), 0))
    raises(ValueError, f"{op} k must be at least 1. Received -1.", lambda: search(mx.array(normal(2, 4)), -1))
    raises(ValueError, f"{op} k must be at most 2147483647. Received {2**31}.", lambda: search(normal(2, 4), 2**31))
    raises(TypeError, f"{op} k must be an int. Received 1.0 of type float.", lambda: search(normal(2, 4), 1.0))
    assert search(normal(2, 4), np.int32(2)) is not None


def test_output_errors() -> None:
    index = built(IndexFlatL2, normal(9, 4))
    x, op = normal(2, 4), "[IndexFlatL2.search]"
    D, I = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.int64)
    raises(
        ValueError,
        f"{op} D must have shape (2, 3). Received (2, 4).",
        lambda: index.search(x, 3, D=np.zeros((2, 4), "f4")),
    )
    raises(
        TypeError,
        f"{op} I must be a numpy.ndarray of int64. Received int32.",
        lambda: index.search(x, 3, D=D, I=np.zeros((2, 3), "i4")),
    )
    raises(
        TypeError,
        f"{op} D must be a numpy.ndarray of float32. Received array.",
        lambda: index.search(x, 3, D=mx.zeros((2, 3))),
    )
    raises(
        TypeError,
        f"{op} I must be None for an mlx.core.array x. Received ndarray.",
        lambda: index.search(mx.array(x), 3, I=I),
    )
    raises(
        TypeError,
        f"{op} params must be None, or of SearchParameters. Received int.",
        lambda: index.search(x, 3, params=4),
    )
    I.flags.writeable = False
    raises(ValueError, f"{op} I must be writeable. Received a read-only array.", lambda: index.search(x, 3, D=D, I=I))
    assert not D.any()  # nothing is half done


def test_reconstruct_errors() -> None:
    index = built(IndexFlatL2, normal(9, 4))
    op = "[IndexFlatL2.reconstruct"
    raises(ValueError, f"{op}] key must hold ids from 0 to 8. Received 9.", lambda: index.reconstruct(9))
    raises(ValueError, f"{op}] key must hold ids from 0 to 8. Received -1.", lambda: index.reconstruct(-1))
    raises(TypeError, f"{op}] key must be an int. Received '1' of type str.", lambda: index.reconstruct("1"))
    raises(ValueError, f"{op}] x must have shape (4,). Received (3,).", lambda: index.reconstruct(1, np.zeros(3, "f4")))
    raises(ValueError, f"{op}_n] n0 must be at most 9. Received 10.", lambda: index.reconstruct_n(10))
    raises(ValueError, f"{op}_n] ni must be at most 4. Received 5.", lambda: index.reconstruct_n(5, 5))
    raises(ValueError, f"{op}_n] ni must be at least -1. Received -2.", lambda: index.reconstruct_n(5, -2))
    raises(
        ValueError, f"{op}_batch] key must hold ids from 0 to 8. Received 9.", lambda: index.reconstruct_batch([1, 9])
    )
    raises(
        ValueError, f"{op}_batch] key must have shape (n,). Received (1, 1).", lambda: index.reconstruct_batch([[1]])
    )
    raises(TypeError, f"{op}_batch] key must hold integers. Received float64.", lambda: index.reconstruct_batch([1.5]))
    raises(
        ValueError,
        f"{op}] key must hold ids of stored vectors, of which there are none. Received 0.",
        lambda: IndexFlatL2(4).reconstruct(0),
    )


def test_a_failed_add_leaves_the_index_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    index = built(IndexFlatL2, normal(9, 4))

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(_chunks, "finish", fail)
        with pytest.raises(MemoryError):
            index.add(mx.array(normal(9000, 4)))
    assert index.ntotal == 9
    assert isinstance(index.reconstruct(0), np.ndarray)
    index.add(normal(9, 4))
    assert index.ntotal == 18


# ---------------------------------------------------------------------------------------------- memory


@pytest.mark.skipif(bool(_core.gpu_kernels()), reason="measures the host's memory, with the GPU's driver in it")
@pytest.mark.parametrize("parts", [1, 3])
def test_memory_of_a_search_does_not_grow_with_ntotal(parts: int) -> None:
    """Of 500 queries among 400000 vectors the distances alone would take 800 MB."""
    program = f"""
import resource, sys
from pathlib import Path
import numpy as np
from metalfaiss import IndexFlatL2

def peak():  # in MB; Linux's ru_maxrss would begin with the parent's
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**10

x = np.random.default_rng(0).standard_normal((400_000, 8), dtype=np.float32)
index = IndexFlatL2(8)
for part in np.split(x, [390_000, 399_900][: {parts} - 1]):
    index.add(part)
assert len(index._chunks) == {parts}
index.search(x[:1], 10)
before = peak()
index.search(x[:500], 100)
searched = peak()
held = np.ones(25 * 2**20, dtype=np.float32)  # 100 MB: does the measure see them?
print(searched - before, peak() - searched)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    search, known = map(float, done.stdout.split())
    assert search < 64
    assert known > 50


# ---------------------------------------------------------------------------------------------- chunks


def test_adding_one_by_one_copies_little(monkeypatch: pytest.MonkeyPatch) -> None:
    copied = 0
    concatenate = mx.concatenate

    def counted(arrays: list[mx.array], *args: Any, **kwargs: Any) -> mx.array:
        nonlocal copied
        copied += sum(a.shape[0] for a in arrays)
        return concatenate(arrays, *args, **kwargs)

    monkeypatch.setattr(mx, "concatenate", counted)
    row, n, index = normal(1, 2), 3000, IndexFlatL2(2)
    for _ in range(n):
        index.add(row)
        large = _chunks._first_small(index._chunks)
        assert large <= 1 + np.log(index.ntotal) / np.log(_chunks.RATIO)
        assert len(index._chunks) - large <= _chunks.FEW
    assert index.ntotal == n
    assert copied < 5 * n * np.log2(n)


def test_chunks_stay_below_the_largest_array() -> None:
    x = mx.array(normal(10, 2))
    chunks: tuple[mx.array, ...] = (x[:0],)
    for _ in range(3):
        chunks = _chunks.append(chunks, x, max_rows=24)
    assert [c.shape[0] for c in chunks] == ([20, 10] if _chunks.SMALL == 0 else [10, 10, 10])


# ------------------------------------------------------------------------------------------ transforms


def chunked(x: mx.array, kind: Any = IndexFlatL2) -> Any:
    index = kind(x.shape[1])
    for start, end in ((0, 40), (40, 43), (43, x.shape[0])):
        index.add(x[start:end])
    return index


@pytest.mark.parametrize("kind", FLAT)
@pytest.mark.parametrize("make", [chunked, lambda x, kind: built(kind, x)], ids=["chunks", "one"])
@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_of_queries_and_vectors(kind: Any, make: Any, compiled: bool) -> None:
    xq, xb = mx.array(normal(5, 6)), mx.array(normal(45, 6, seed=1))
    weight = mx.array(normal(5, 4, seed=2))

    def native(xq: mx.array, xb: mx.array) -> mx.array:
        D, _ = make(xb, kind).search(xq, 4)
        return (D * weight).sum()

    def pure(xq: mx.array, xb: mx.array) -> mx.array:
        if kind is IndexFlatL2:
            D = mx.sort(mx.square(xq[:, None] - xb[None]).sum(-1), axis=-1)[:, :4]
        else:
            D = -mx.sort(-(xq @ xb.T), axis=-1)[:, :4]
        return (D * weight).sum()

    value_and_grad = mx.value_and_grad(native, argnums=(0, 1))
    value, grads = (mx.compile(value_and_grad) if compiled else value_and_grad)(xq, xb)
    wanted, wanted_grads = mx.value_and_grad(pure, argnums=(0, 1))(xq, xb)
    assert mx.allclose(value, wanted, rtol=1e-5)
    for g, w in zip(grads, wanted_grads, strict=True):
        assert mx.allclose(g, w, rtol=1e-4, atol=1e-5)
    _, tangent = mx.jvp(native, [xq, xb], [mx.ones_like(xq), xb])
    _, wanted_tangent = mx.jvp(pure, [xq, xb], [mx.ones_like(xq), xb])
    assert mx.allclose(tangent[0], wanted_tangent[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shapeless", [False, True])
@pytest.mark.parametrize("kind", FLAT)
def test_compiled_search_of_a_captured_index(kind: Any, shapeless: bool) -> None:
    traces = 0
    index = chunked(mx.array(normal(50, 6)), kind)
    mx.eval(index._chunks)  # a lazy array within a shapeless function must know its shape, MLX's slices do not

    @mx.compile
    def inner(xq: mx.array) -> tuple[mx.array, mx.array]:
        nonlocal traces
        traces += 1
        return index.search(xq, 60)

    search = mx.compile(lambda xq: inner(xq * 1.0), shapeless=shapeless)
    for n in (3, 7, 1):
        xq = mx.array(normal(n, 6, seed=n))
        for got, wanted in zip(search(xq), index.search(xq, 60), strict=True):
            assert mx.array_equal(got, wanted)
    assert traces == (1 if shapeless else 3)
    assert all(_core.is_evaluated(chunk) for chunk in index._chunks)


@pytest.mark.parametrize("kind", FLAT)
def test_compiled_search_of_an_index_made_inside(kind: Any) -> None:
    @mx.compile
    def nearest(xb: mx.array, xq: mx.array) -> tuple[mx.array, mx.array]:
        return chunked(xb, kind).search(xq, 3)

    for seed in range(3):
        xb, xq = mx.array(normal(50, 6, seed=seed)), mx.array(normal(4, 6, seed=seed + 9))
        for got, wanted in zip(nearest(xb, xq), built(kind, np.array(xb)).search(xq, 3), strict=True):
            assert mx.array_equal(got, wanted)


@pytest.mark.parametrize("kind", FLAT)
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (1, 2)])
def test_vmap(kind: Any, axes: tuple[int | None, int | None]) -> None:
    def nearest(xq: mx.array, xb: mx.array) -> tuple[mx.array, mx.array]:
        return chunked(xb, kind).search(xq, 4)

    def mapped(shape: tuple[int, ...], axis: int | None, seed: int) -> list[mx.array]:
        return [mx.array(normal(*shape, seed=seed + (i if axis is not None else 0))) for i in range(3)]

    queries, bases = mapped((5, 6), axes[0], 0), mapped((50, 6), axes[1], 10)
    args = [x[0] if axis is None else mx.stack(x, axis=axis) for x, axis in zip((queries, bases), axes, strict=True)]
    D, I = mx.vmap(nearest, in_axes=axes)(*args)
    for i in range(3):
        wanted = nearest(queries[i], bases[i])
        assert mx.array_equal(D[i], wanted[0])
        assert mx.array_equal(I[i], wanted[1])


def test_vmap_of_a_captured_index_under_grad() -> None:
    index = chunked(mx.array(normal(50, 6)))
    xq = mx.array(normal(12, 6, seed=1))
    grad = mx.grad(lambda q: mx.vmap(lambda one: index.search(one, 2)[0])(q).sum())(xq.reshape(3, 4, 6))
    wanted = mx.grad(lambda q: index.search(q, 2)[0].sum())(xq)
    assert mx.allclose(grad.reshape(12, 6), wanted)


def test_a_traced_vector_does_not_enter_an_index_made_outside() -> None:
    index = built(IndexFlatL2, normal(9, 4))

    def leak(x: mx.array) -> mx.array:
        index.add(x)
        return x.sum()

    for transform in (mx.grad, mx.compile, mx.vmap):
        raises(
            ValueError,
            "[IndexFlatL2.add] x must not be traced, or the index must be made inside of the transformed function. "
            "Received a traced array for an index made outside.",
            lambda t=transform: t(leak)(mx.ones((3, 4) if t is not mx.vmap else (2, 3, 4))),
        )
    assert index.ntotal == 9


def test_plain_vectors_enter_an_index_within_a_trace() -> None:
    index, x = IndexFlatL2(4), mx.array(normal(9, 4))

    def grow(scale: mx.array) -> mx.array:
        index.add(x)
        index.add(x)
        return index.search(x * scale, 2)[0].sum()

    mx.eval(mx.grad(grow)(mx.array(1.0)))
    assert all(_core.is_evaluated(chunk) for chunk in index._chunks)
    assert index.ntotal == 18


def test_streams() -> None:
    index = chunked(mx.array(normal(50, 6)))
    x = mx.array(normal(4, 6))
    other = mx.new_stream(mx.cpu)
    for got, wanted in zip(index.search(x, 5, stream=other), index.search(x, 5, stream=mx.cpu), strict=True):
        assert mx.array_equal(got, wanted)
    assert mx.array_equal(index.assign(x, 5, stream=other), index.assign(x, 5))
    if mx.is_available(mx.gpu) and not _core.gpu_kernels():
        with pytest.raises(ValueError, match=r"stream=mx\.cpu"):
            index.search(x, 5, stream=mx.gpu)


def test_deterministic() -> None:
    index, xq = chunked(mx.array(normal(50, 6))), normal(9, 6, seed=3)
    first = index.search(xq, 50)
    for _ in range(5):
        for got, wanted in zip(index.search(xq, 50), first, strict=True):
            np.testing.assert_array_equal(got, wanted)


# ------------------------------------------------------------------------------------------- changes


@pytest.mark.parametrize("kind", FLAT)
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16])
def test_remove_ids_moves_those_behind_up(kind: Any, dtype: mx.Dtype) -> None:
    x = normal(60, 5)
    index = built(kind, x[:40], dtype=dtype)
    index.add(x[40:])
    assert index.remove_ids(np.array([], dtype=np.int64)) == 0
    assert index.remove_ids(np.array([3, 41, 41, 99, -1])) == 2
    stored = np.array(mx.array(np.delete(x, [3, 41], axis=0)).astype(dtype).astype(mx.float32))
    np.testing.assert_array_equal(index.reconstruct_n(), stored)
    assert index.remove_ids(metalfaiss.IDSelectorAll()) == 58
    assert index.ntotal == 0
    index.add(x)
    assert index.ntotal == 60


def test_merge_from() -> None:
    x = normal(60, 5)
    index, other = built(IndexFlatL2, x[:40]), built(IndexFlatL2, x[40:])
    index.merge_from(other)
    assert (index.ntotal, other.ntotal) == (60, 0)
    np.testing.assert_array_equal(index.reconstruct_n(), x)
    op = "[IndexFlatL2.check_compatible_for_merge]"
    for wrong, name, got in (
        (IndexFlatL2(6), "d", "5 and 6"),
        (IndexFlatIP(5), "type", "IndexFlatL2 and IndexFlatIP"),
        (IndexFlatL2(5, dtype=mx.float16), "dtype", "mlx.core.float32 and mlx.core.float16"),
    ):
        message = f"{op} The indexes must have the same {name}. Received {got}."
        raises(RuntimeError, message, lambda wrong=wrong: index.merge_from(wrong))  # type: ignore[misc]
    raises(
        ValueError,
        "[IndexFlatL2.merge_from] otherIndex must be another index. Received the index itself.",
        lambda: index.merge_from(index),
    )


def test_residuals() -> None:
    x, q = normal(9, 4), normal(3, 4, seed=1)
    index = built(IndexFlatL2, x)
    np.testing.assert_array_equal(index.compute_residual_n(3, q, None, np.array([2, 0, 8])), q - x[[2, 0, 8]])
    out = np.empty(4, dtype=np.float32)
    index.compute_residual(q[0], out, 5)
    np.testing.assert_array_equal(out, q[0] - x[5])
    raises(
        ValueError,
        "[IndexFlatL2.compute_residual_n] key must hold ids from 0 to 8. Received 9.",
        lambda: index.compute_residual(q[0], None, 9),
    )


@pytest.mark.parametrize(
    ("numeric", "dtype"),
    [(metalfaiss.Float16, np.float16), (metalfaiss.Int8, np.int8), (metalfaiss.UInt8, np.uint8)],
)
def test_numeric_types_round(numeric: int, dtype: Any) -> None:
    x, q = np.abs(9 * normal(50, 8)), np.abs(9 * normal(4, 8, seed=1))
    index, expected = IndexFlatL2(8), IndexFlatL2(8)
    index.train(x, numeric_type=numeric)
    index.add(x, numeric_type=numeric)
    expected.add(x.astype(dtype))
    for ours, other in zip(index.search(q, 5, numeric_type=numeric), expected.search(q.astype(dtype), 5), strict=True):
        np.testing.assert_array_equal(ours, other)
    D, I = np.empty((4, 5), np.float32), np.empty((4, 5), np.int64)
    other = IndexFlatL2(8)
    other.train_ex(50, metalfaiss.swig_ptr(x.astype(dtype)), numeric)
    other.add_ex(50, metalfaiss.swig_ptr(x.astype(dtype)), numeric)
    other.search_ex(4, q.astype(dtype), numeric, 5, D, I)
    np.testing.assert_array_equal(I, index.search(q, 5, numeric_type=numeric)[1])
    mapped = metalfaiss.IndexIDMap(IndexFlatL2(8))
    mapped.add_with_ids_ex(50, x.astype(dtype), numeric, np.arange(50))
    np.testing.assert_array_equal(mapped.search(q.astype(dtype), 5)[1], I)
    with pytest.raises(TypeError, match="numeric_type must be Float32"):
        index.add(x, numeric_type=7)


def test_abilities_that_an_index_lacks() -> None:
    index = built(IndexFlatL2, normal(9, 4))
    with pytest.raises(RuntimeError, match=r"\[IndexFlatL2.add_with_ids\].*IndexIDMap"):
        index.add_with_ids(normal(2, 4), [1, 2])
    raises(
        AttributeError,
        "[IndexFlatL2] An attribute must be one of the index's. Received 'nprobe'.",
        lambda: setattr(index, "nprobe", 3),
    )
