"""Search by distance: against float64, against FAISS, with filters, at every SIMD level."""

from __future__ import annotations

from typing import Any

import faiss
import mlx.core as mx
import numpy as np
import pytest

import metalfaiss
from metalfaiss import IndexFlat, IndexFlatIP, IndexFlatL2, SearchParameters

METRICS = {IndexFlatL2: 1, IndexFlatIP: 0}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def exact(xq: np.ndarray, xb: np.ndarray, kind: Any) -> np.ndarray:
    q, b = xq.astype(np.float64), xb.astype(np.float64)
    if kind is IndexFlatIP:
        return q @ b.T
    return np.stack([((row - b) ** 2).sum(1) for row in q]) if len(q) else np.zeros((0, len(b)))


def check(
    found: Any, xq: np.ndarray, xb: np.ndarray, kind: Any, radius: float, chosen: np.ndarray | None = None
) -> None:
    lims, D, I = found
    assert (lims.dtype, D.dtype, I.dtype) == (np.uint64, np.float32, np.int64)
    distances = exact(xq, xb, kind)
    rounded = distances.astype(np.float32)
    near = rounded > np.float32(radius) if kind is IndexFlatIP else rounded < np.float32(radius)
    if chosen is not None:
        near[:, ~chosen] = False
    for q in range(len(xq)):
        ids = I[int(lims[q]) : int(lims[q + 1])]
        np.testing.assert_array_equal(ids, np.flatnonzero(near[q]))
        np.testing.assert_allclose(D[int(lims[q]) : int(lims[q + 1])], distances[q, ids], rtol=1e-6, atol=1e-30)
    assert lims[-1] == D.size == I.size


def built(kind: Any, x: np.ndarray, **options: Any) -> Any:
    index = kind(x.shape[1], **options)
    index.add(x)
    return index


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize(("nq", "nb", "d"), [(1, 300, 17), (3, 130, 40), (40, 700, 33), (20, 100, 500), (5, 3, 1)])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.9])
def test_exact(kind: Any, nq: int, nb: int, d: int, share: float, simd_level: str) -> None:
    xb, xq = 3 + normal(nb, d), 3 + normal(nq, d, seed=1)
    sign = -1 if kind is IndexFlatIP else 1
    radius = float(sign * np.quantile(sign * exact(xq, xb, kind), share))
    check(built(kind, xb).range_search(xq, radius), xq, xb, kind, radius)


@pytest.mark.parametrize("kind", METRICS)
def test_results_are_those_of_faiss(kind: Any) -> None:
    xb, xq = normal(400, 24), normal(30, 24, seed=1)
    theirs = getattr(faiss, kind.__name__)(24)
    theirs.add(xb)
    lims, D, I = built(kind, xb).range_search(xq, 4.0 if kind is IndexFlatIP else 30.0)
    lims_faiss, D_faiss, I_faiss = theirs.range_search(xq, 4.0 if kind is IndexFlatIP else 30.0)
    np.testing.assert_array_equal(lims, lims_faiss)
    for a, b in zip(lims[:-1].astype(int), lims[1:].astype(int), strict=True):
        order = np.argsort(I_faiss[a:b])
        np.testing.assert_array_equal(I[a:b], I_faiss[a:b][order])
        np.testing.assert_allclose(D[a:b], D_faiss[a:b][order], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("nq", [2, 30])
def test_filters(kind: Any, nq: int, simd_level: str) -> None:
    xb, xq = normal(300, 9), normal(nq, 9, seed=1)
    index = built(kind, xb[:200])
    index.add(xb[200:])
    chosen = np.random.default_rng(2).random(300) < 0.3
    for sel in (chosen, np.flatnonzero(chosen), lambda i: chosen[i]):
        check(index.range_search(xq, 1.0, params=SearchParameters(sel=sel)), xq, xb, kind, 1.0, chosen)
    nothing = index.range_search(xq, 1.0, params=SearchParameters(sel=np.zeros(300, dtype=bool)))
    assert nothing[1].size == 0


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_storage_dtypes(kind: Any, dtype: mx.Dtype, simd_level: str) -> None:
    xb, xq = normal(200, 20), normal(9, 20, seed=1)
    stored = np.array(mx.array(xb).astype(dtype).astype(mx.float32))
    check(built(kind, xb, dtype=dtype).range_search(xq, 3.0), xq, stored, kind, 3.0)


def test_far_from_the_origin_and_duplicates(simd_level: str) -> None:
    base = 1e4 + normal(1, 48)
    xb = base + 1e-2 * normal(500, 48, seed=1)
    xb[77] = xb[3]
    for nq in (1, 12):
        radius = float(np.median(exact(xb[:nq], xb, IndexFlatL2)))
        check(built(IndexFlatL2, xb).range_search(xb[:nq], radius), xb[:nq], xb, IndexFlatL2, radius)


@pytest.mark.parametrize("nq", [2, 12])
def test_values_that_float32_cannot_hold(nq: int, simd_level: str) -> None:
    xb, xq = normal(100, 8), normal(nq, 8, seed=1)
    xb[3], xb[4, 0], xb[5, 1], xb[6] = np.nan, np.inf, 1e30, 3e19
    xq[1, 0] = np.nan
    with np.errstate(all="ignore"):
        for kind in METRICS:
            radius = -np.inf if kind is IndexFlatIP else np.inf
            lims, _, I = built(kind, xb).range_search(xq, radius)
            expected = np.isfinite(exact(xq, xb, kind).astype(np.float32))
            np.testing.assert_array_equal(np.diff(lims.astype(int)), expected.sum(1))
            np.testing.assert_array_equal(I, np.nonzero(expected)[1])


@pytest.mark.parametrize("radius", [0.0, -1.0, float("nan"), -float("inf")])
def test_radii_that_nothing_is_within(radius: float) -> None:
    x = normal(50, 6)
    lims, D, I = built(IndexFlatL2, x).range_search(x, radius)
    assert not lims.any()
    assert D.size == I.size == 0
    assert built(IndexFlatIP, x).range_search(x, float("inf"))[1].size == 0


def test_forms_of_input(simd_level: str) -> None:
    x = normal(60, 6)
    index = built(IndexFlatL2, x)
    expected = index.range_search(x, 5.0)
    for queries in (mx.array(x), x.astype(np.float64), np.asfortranarray(x), x[::-1][::-1]):
        for ours, other in zip(index.range_search(queries, np.float32(5.0)), expected, strict=True):
            np.testing.assert_array_equal(ours, other)
    for stream in (mx.cpu, mx.Device(mx.cpu), mx.default_stream(mx.Device(mx.cpu))):
        assert index.range_search(x, 5.0, stream=stream)[1].size == expected[1].size
    assert index.range_search(x[:0], 1.0)[0].tolist() == [0]
    assert IndexFlat(6).range_search(x, 1.0)[0].tolist() == [0] * 61
    everything = index.range_search(x, 1e30)
    assert everything[1].size == 3600
    with pytest.raises(TypeError, match=r"\[IndexFlatL2.range_search\] thresh must be a number. Received '1'"):
        index.range_search(x, "1")
    with pytest.raises(ValueError, match=r"x must have shape \(n, 6\)"):
        index.range_search(x[:, :3], 1.0)


def test_around_other_indexes() -> None:
    x = normal(90, 6)
    flat = built(IndexFlatL2, x)
    lims, D, I = flat.range_search(x[:7], 6.0)
    ids = np.random.default_rng(1).permutation(1000)[:90]
    mapped = metalfaiss.IndexIDMap(IndexFlatL2(6))
    mapped.add_with_ids(x, ids)
    np.testing.assert_array_equal(mapped.range_search(x[:7], 6.0)[2], ids[I])
    refined = metalfaiss.IndexRefineFlat(IndexFlatL2(6))
    refined.add(x)
    for group in (metalfaiss.IndexShards(6, True), metalfaiss.IndexShards(6), metalfaiss.IndexReplicas(6, True)):
        for _ in range(3):
            group.add_shard(IndexFlatL2(6)) if isinstance(group, metalfaiss.IndexShards) else group.addIndex(
                IndexFlatL2(6)
            )
        group.add(x)
        for ours, expected in zip(group.range_search(x[:7], 6.0), (lims, D, I), strict=True):
            np.testing.assert_array_equal(ours, expected)
    for ours, expected in zip(refined.range_search(x[:7], 6.0), (lims, D, I), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
