"""A few queries look at sketches of the centroids, many do not: the lists are the same."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from metalfaiss import METRIC_INNER_PRODUCT, METRIC_L2, IndexFlat, IndexIVFFlat

FEW, MANY = 3, 78  # of MANY, none is on the caller's thread


@pytest.mark.parametrize("metric", [METRIC_L2, METRIC_INNER_PRODUCT])
@pytest.mark.parametrize(
    ("nlist", "d", "scale"),
    [(300, 1, 1), (1000, 7, 1), (600, 256, 1), (2100, 33, 1e-20), (700, 64, 1e12), (300, 100, 1e-42), (256, 16, 0)],
)
def test_a_few_queries_find_what_many_find(nlist: int, d: int, scale: float, metric: int, simd_level: Any) -> None:
    rng = np.random.default_rng(nlist)
    centroids = rng.standard_normal((nlist, d)) * (scale or 1) + 3 * (scale or 1)
    centroids = (centroids if scale else np.round(centroids)).astype(np.float32)  # 0: with many ties
    quantizer = IndexFlat(d, metric)
    quantizer.add(mx.array(np.asfortranarray(centroids).T).T if d == 64 else centroids)
    index = IndexIVFFlat(quantizer, d, nlist, metric)
    index.is_trained = True
    index.add(centroids)
    x = (rng.standard_normal((MANY, d)) * (scale or 1)).astype(np.float32)
    x[:5], x[5], x[6:9] = centroids[:5], 0, x[6:9] * np.float32(1e-3)
    for nprobe in (1, 5, nlist // 8):
        index.nprobe = nprobe
        wanted = index.search(x, 7)
        few = [index.search(x[i : i + FEW], 7) for i in range(0, MANY, FEW)]
        for ours, theirs in zip(map(np.concatenate, zip(*few, strict=True)), wanted, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_centroids_and_queries_that_have_no_sketch() -> None:
    centroids = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    for largest in (1, 1e18, np.inf):
        centroids[7, 3] = largest
        quantizer = IndexFlat(8)
        quantizer.add(centroids)
        index = IndexIVFFlat(quantizer, 8, 300)
        index.is_trained = True
        index.nprobe = 4
        index.add(centroids[:7])
        queries = np.concatenate([centroids[:5], np.full((1, 8), np.nan), np.full((1, 8), 1e17)]).astype(np.float32)
        D, I = index.search(queries, 1)
        many = index.search(np.tile(queries, (12, 1)), 1)
        np.testing.assert_array_equal(I, many[1][:7])
        np.testing.assert_array_equal(D, many[0][:7])
        assert I[:6, 0].tolist() == [0, 1, 2, 3, 4, -1]
