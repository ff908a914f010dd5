"""Exact search through the index classes: FAISS's results, the accuracy contract, kinds of input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import faiss
import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.flat import FLAT, WORST, built, check_exact, normal, small_chunks

from metalfaiss import METRIC_INNER_PRODUCT, METRIC_L2, IndexFlat, IndexFlatIP, IndexFlatL2, _core

__all__ = ["small_chunks"]


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
