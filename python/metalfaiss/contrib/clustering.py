"""K-means of data that assigns itself, and clustering in two levels, for many clusters."""

from __future__ import annotations

import time
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._lloyd import cluster_means, split_empty
from metalfaiss.clustering import Kmeans
from metalfaiss.distances import knn
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes.pretransform import IndexPreTransform
from metalfaiss.metrics import METRIC_L2

__all__ = ["DatasetAssign", "kmeans", "train_ivf_index_with_2level", "two_level_clustering"]

COARSE_POINTS = 2000  # of a cluster of the first level, in its training


class DatasetAssign:
    """A matrix whose rows ``kmeans`` clusters. A class of one's own with these methods may take its place.

    Args:
        x: shape (n, d), used as float32.
    """

    def __init__(self, x: NDArray[Any]) -> None:
        self.x = np.ascontiguousarray(x, dtype=np.float32)

    def count(self) -> int:
        """How many vectors there are."""
        return len(self.x)

    def dim(self) -> int:
        """Their dimension."""
        return int(self.x.shape[1])

    def get_subset(self, indices: Any) -> NDArray[np.float32]:
        """Some of them, shape (m, d)."""
        return np.asarray(self.x[indices])

    def perform_search(self, centroids: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The squared distance to the nearest centroid, and which it is, both (n, 1)."""
        return knn(self.x, centroids, 1)

    def assign_to(
        self, centroids: NDArray[np.float32], weights: NDArray[Any] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        """The nearest centroid of each vector, (n,), the distances, (n,), and the sums of each cluster, (k, d).

        With ``weights``, shape (n,), the sums are weighted.
        """
        D, I = self.perform_search(centroids)
        ids, w = I.ravel(), None if weights is None else mx.array(np.asarray(weights, dtype=np.float32))
        means, totals = cluster_means(mx.array(self.x), mx.array(ids), w, len(centroids), mx.Device(mx.cpu))
        (sums,) = _host.to_numpy(means * totals[:, None])
        return ids, D.ravel(), sums


def kmeans(
    k: int,
    data: Any,
    niter: int = 25,
    seed: int = 1234,
    checkpoint: str | None = None,
    verbose: bool = True,
    return_stats: bool = False,
) -> Any:
    """K-means of anything that assigns itself to centroids, such as ``DatasetAssign``.

    Args:
        k: how many clusters.
        data: has ``count``, ``dim``, ``get_subset`` and ``assign_to``.
        niter: iterations.
        seed: of the choice of first centroids and of what empty clusters take.
        checkpoint: a file (.npy) that holds the centroids after each iteration.
        verbose: prints each iteration.
        return_stats: whether statistics are returned, too.

    Returns:
        Centroids, shape (k, d), float32; and if asked for, of each iteration a dictionary of obj, time and nsplit.

    Raises:
        ValueError: there are fewer vectors than clusters.
    """
    n = data.count()
    if n < k:
        raise ArgumentError(f"[kmeans] data must have at least k = {k} vectors. Received {n}.")
    random, begun, stats = np.random.default_rng(seed), time.perf_counter(), []
    centroids = np.array(data.get_subset(random.choice(n, k, replace=False)), dtype=np.float32)
    for i in range(niter):
        ids, D, sums = data.assign_to(centroids)
        sizes = np.bincount(np.asarray(ids), minlength=k)
        centroids = (np.asarray(sums) / np.maximum(sizes, 1)[:, None]).astype(np.float32)
        moved, nsplit = split_empty(mx.array(centroids), mx.array(sizes.astype(np.float32)), 0, mx.Device(mx.cpu))
        centroids = _host.to_numpy(moved)[0]
        stats.append(
            {"obj": float(np.sum(D)), "time": time.perf_counter() - begun, "nsplit": int(_host.to_numpy(nsplit)[0])}
        )
        if verbose:
            print(f"  Iteration {i} ({stats[-1]['time']:.2f} s): objective={stats[-1]['obj']:g}", flush=True)
        if checkpoint is not None:
            np.save(checkpoint, centroids)
    return (centroids, stats) if return_stats else centroids


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
        raise ArgumentError(
            f"[train_ivf_index_with_2level] The metric must be METRIC_L2. Received {index.metric_type}."
        )
    centroids, _ = two_level_clustering(xt, int(np.sqrt(index.nlist)), index.nlist, **args)
    index.quantizer.train(centroids)
    index.quantizer.add(centroids)
    index.train(xt)
