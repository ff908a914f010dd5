"""Clustering in two levels, for many clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss.clustering import Kmeans
from metalfaiss.indexes.pretransform import IndexPreTransform
from metalfaiss.metrics import METRIC_L2

__all__ = ["train_ivf_index_with_2level", "two_level_clustering"]

COARSE_POINTS = 2000  # of a cluster of the first level, in its training


def two_level_clustering(
    xt: NDArray[Any], nc1: int, nc2: int, rebalance: bool = True, clustering_niter: int = 25, **args: Any
) -> tuple[NDArray[np.float32], list[Any]]:
    """Centroids by clusters of clusters: nc1 clusters, each of which is clustered again.

    Args:
        xt: vectors, shape (n, d).
        nc1: clusters of the first level.
        nc2: clusters in all.
        rebalance: whether large clusters get more of them.
        clustering_niter: iterations of the first level.
        args: for ``Kmeans``; the first level has its own numbers of iterations and points.

    Returns:
        Centroids, shape (nc2, d), and the statistics of each k-means.
    """
    first = args | {"niter": clustering_niter, "max_points_per_centroid": COARSE_POINTS}
    coarse = Kmeans(xt.shape[1], nc1, **first)
    coarse.train(xt)
    assigned = np.asarray(coarse.assign(xt)[1])
    sizes = np.bincount(assigned, minlength=nc1)
    ends = np.cumsum(sizes) * nc2 // len(xt) if rebalance else np.arange(1, nc1 + 1) * nc2 // nc1
    centroids, stats = [], [coarse.iteration_stats]
    for cluster, k in enumerate(np.diff(ends, prepend=0).tolist()):
        if k:
            fine = Kmeans(xt.shape[1], k, **args)
            fine.train(xt[assigned == cluster])
            assert fine.centroids is not None
            centroids.append(fine.centroids)
            stats.append(fine.iteration_stats)
    return np.vstack(centroids), stats


def train_ivf_index_with_2level(index: Any, xt: NDArray[Any], **args: Any) -> None:
    """Trains an index with inverted lists, perhaps behind transforms, with centroids of two levels.

    Args:
        index: an ``IndexIVF``, or an ``IndexPreTransform`` on one.
        xt: vectors, shape (n, d).
        args: for ``two_level_clustering`` and ``Kmeans``.

    Raises:
        ValueError: the metric is not L2.
    """
    if isinstance(index, IndexPreTransform):
        for transform in index.chain:
            if not transform.is_trained:
                transform.train(xt)
            xt = transform.apply(xt)
        train_ivf_index_with_2level(index.index, xt, **args)
        return
    if index.metric_type != METRIC_L2:
        raise ValueError(f"[train_ivf_index_with_2level] The metric must be METRIC_L2. Received {index.metric_type}.")
    centroids, _ = two_level_clustering(xt, int(np.sqrt(index.nlist)), index.nlist, **args)
    index.quantizer.train(centroids)
    index.quantizer.add(centroids)
    index.train(xt)
