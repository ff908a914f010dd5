"""The metrics other than L2 and inner products: FAISS's definitions, in every form of search."""

from __future__ import annotations

from typing import Any

import faiss
import mlx.core as mx
import numpy as np
import pytest

import metalfaiss
from metalfaiss import METRIC_GOWER, IndexFlat, SearchParameters
from metalfaiss.metrics import NAMES, is_similarity_metric

EXTRA = [(metric, 1.7 if name == "METRIC_Lp" else 0.0) for metric, name in NAMES.items() if metric > 1]
IDS = [NAMES[metric] for metric, _ in EXTRA]


def data(n: int, d: int, seed: int) -> np.ndarray:
    """From 0 to 1, which every metric takes; none is 0."""
    return (0.01 + 0.98 * np.random.default_rng(seed).random((n, d))).astype(np.float32)


def ours_and_theirs(metric: int, p: float, xb: np.ndarray) -> tuple[Any, Any]:
    made = []
    for f in (metalfaiss, faiss):
        index = f.IndexFlat(xb.shape[1], metric)
        index.metric_arg = p
        index.add(xb)
        made.append(index)
    return made[0], made[1]


@pytest.mark.parametrize(("metric", "p"), EXTRA, ids=IDS)
@pytest.mark.parametrize("d", [1, 7, 24, 33])
def test_all_distances(metric: int, p: float, d: int, simd_level: str) -> None:
    xq, xb = data(19, d, 0), data(70, d, 1)
    D = metalfaiss.pairwise_distances(xq, xb, metric, p)
    np.testing.assert_allclose(D, faiss.pairwise_distances(xq, xb, metric, p), rtol=2e-5, atol=1e-6)
    np.testing.assert_array_equal(np.array(metalfaiss.pairwise_distances(mx.array(xq), mx.array(xb), metric, p)), D)


@pytest.mark.parametrize("metric", [2, 3, 4, 20, 21, 24])
def test_signed_values_and_nan(metric: int, simd_level: str) -> None:
    xq, xb = data(6, 11, 0) - 0.5, data(30, 11, 1) - 0.5
    xb[3, 4] = xb[5] = xq[2, 7] = xq[4] = np.nan
    D = metalfaiss.pairwise_distances(xq, xb, metric, 3.0)
    expected = faiss.pairwise_distances(xq, xb, metric, 3.0)
    if metric == metalfaiss.METRIC_Linf:  # how FAISS's maximum treats NaN depends on its SIMD level
        kept = ~(np.isnan(xq).any(1)[:, None] | np.isnan(xb).any(1)[None])
        np.testing.assert_allclose(D[kept], expected[kept], rtol=1e-5)
    else:
        np.testing.assert_allclose(D, expected, rtol=2e-5, atol=1e-6)


def test_gower_categories(simd_level: str) -> None:
    xq, xb = data(9, 10, 0), data(40, 10, 1)
    xq[:, 2], xb[:, 2] = -np.arange(9) % 3 - 1, -np.arange(40) % 3 - 1
    xb[1, 0], xb[2, 2], xb[3, 5], xb[4] = np.nan, 0.5, 1.5, np.nan
    expected = faiss.pairwise_distances(xq, xb, METRIC_GOWER)
    np.testing.assert_allclose(metalfaiss.pairwise_distances(xq, xb, METRIC_GOWER), expected, rtol=1e-5)


@pytest.mark.parametrize(("metric", "p"), EXTRA, ids=IDS)
@pytest.mark.parametrize(("nq", "nb"), [(1, 900), (40, 300), (3, 5)])
def test_search(metric: int, p: float, nq: int, nb: int, simd_level: str) -> None:
    xq, xb = data(nq, 12, 0), data(nb, 12, 1)
    ours, theirs = ours_and_theirs(metric, p, xb)
    D, I = ours.search(xq, 10)
    D_faiss, _ = theirs.search(xq, 10)
    np.testing.assert_allclose(D, D_faiss, rtol=2e-5, atol=1e-6)
    all_D = metalfaiss.pairwise_distances(xq, xb, metric, p)
    order = np.argsort(-all_D if is_similarity_metric(metric) else all_D, axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(I[:, :nb], order)
    for a, b in zip(metalfaiss.knn(xq, xb, 10, metric, p), (D, I), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("metric", "p"), EXTRA, ids=IDS)
def test_filters_and_range_search(metric: int, p: float, simd_level: str) -> None:
    xq, xb = data(8, 12, 0), data(200, 12, 1)
    index = ours_and_theirs(metric, p, xb[:150])[0]
    index.add(xb[150:])
    all_D = metalfaiss.pairwise_distances(xq, xb, metric, p)
    chosen = np.arange(200) % 3 == 1
    params = SearchParameters(sel=chosen)
    sign = -1 if is_similarity_metric(metric) else 1
    kept = np.flatnonzero(chosen)
    np.testing.assert_array_equal(
        index.search(xq, 6, params=params)[1], kept[np.argsort(sign * all_D[:, kept], axis=1, kind="stable")[:, :6]]
    )
    radius = float(np.median(all_D))
    for limited, mask in ((None, np.ones(200, dtype=bool)), (params, chosen)):
        lims, D, I = index.range_search(xq, radius, params=limited)
        near = (sign * all_D < sign * np.float32(radius)) & mask
        np.testing.assert_array_equal(np.diff(lims.astype(int)), near.sum(1))
        np.testing.assert_array_equal(I, np.nonzero(near)[1])
        np.testing.assert_array_equal(D, all_D[near])


def test_vectors_without_a_distance_are_not_returned() -> None:
    xb = data(5, 4, 1)
    xb[2] = np.nan
    index = ours_and_theirs(2, 0, xb)[0]
    D, I = index.search(xb[:1], 5)
    assert sorted(I[0].tolist()) == [-1, 0, 1, 3, 4]
    assert D[0, 4] == np.finfo(np.float32).max


def test_refining_and_errors() -> None:
    xq, xb = data(4, 6, 0), data(50, 6, 1)
    refined = metalfaiss.IndexRefineFlat(IndexFlat(6, metalfaiss.METRIC_L1))
    refined.add(xb)
    np.testing.assert_array_equal(refined.search(xq, 5)[1], metalfaiss.knn(xq, xb, 5, metalfaiss.METRIC_L1)[1])
    with pytest.raises(ValueError, match="metric must be one of FAISS's numbers"):
        metalfaiss.knn(xq, xb, 3, 7)
    with pytest.raises(ValueError, match=r"xq and xb must have shapes \(nq, d\)"):
        metalfaiss.pairwise_distances(xq[None], xb, 2)
