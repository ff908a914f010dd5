"""K-means of numbers, exactly: FAISS's ``Clustering1D`` and ``kmeans1d``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metalfaiss import _host
from metalfaiss.arrays import imbalance_factor
from metalfaiss.clustering.clustering import Clustering
from metalfaiss.clustering.parameters import ClusteringIterationStats, ClusteringParameters
from metalfaiss.errors import ArgumentError

__all__ = ["Clustering1D", "kmeans1d"]


class Clustering1D(Clustering):
    """The best k-means of vectors of one dimension: no iterations and no index.

    Args:
        k: how many clusters.
        cp: parameters; of those only ``verbose`` matters.
    """

    def __init__(self, k: int, cp: ClusteringParameters | None = None) -> None:
        super().__init__(1, k, cp)

    def train_exact(self, x: ArrayLike) -> None:
        """Finds the centroids, ascending, and leaves them in ``centroids``.

        Args:
            x: shape (n, 1) or (n,), used as float32.

        Raises:
            ValueError: there are fewer numbers than clusters, or some are not finite.
        """
        values = np.asarray(x, dtype=np.float32).reshape(-1)
        centroids, objective, factor = _exact("Clustering1D.train_exact", values, self.k)
        self._keep(centroids)
        self.iteration_stats.append(ClusteringIterationStats(obj=objective, imbalance_factor=factor))


def kmeans1d(x: ArrayLike, n: int, nclusters: int, centroids: NDArray[np.float32]) -> float:
    """The best k-means of numbers, by dynamic programming (Grønlund et al., "Fast exact k-means, k-medians and Bregman
    divergence clustering in 1D", 2017).

    Args:
        x: shape (n,), used as float32.
        n: how many, in FAISS's order of arguments.
        nclusters: how many clusters.
        centroids: shape (nclusters,), float32: where they are written to, ascending.

    Returns:
        How unequal the clusters are: see ``imbalance_factor``.

    Raises:
        ValueError: there are fewer numbers than clusters, or some are not finite.
    """
    found, _, factor = _exact("kmeans1d", np.asarray(x, dtype=np.float32).reshape(-1)[:n], nclusters)
    centroids.reshape(-1)[:nclusters] = found
    return factor


def _exact(op: str, x: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], float, float]:
    """Centroids, the objective, and the imbalance factor."""
    k = _host.integer(op, "k", k, 1)
    if x.size < k or not np.isfinite(x).all():
        raise ArgumentError(f"[{op}] x must hold at least {k} finite numbers. Received {np.isfinite(x).sum()}.")
    ordered = np.sort(x).astype(np.float64)
    ordered -= (mean := ordered.mean())  # sums of squares lose fewer digits
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    squares = np.concatenate([[0.0], np.cumsum(ordered**2)])

    def cost(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
        """Of numbers a to b - 1 as one cluster; infinite if there are none."""
        count = b - a
        total = sums[b] - sums[a]
        spread = squares[b] - squares[a] - total * total / np.maximum(count, 1)
        out: NDArray[np.float64] = np.where(count > 0, np.maximum(spread, 0.0), np.inf)
        return out

    ends = np.arange(x.size + 1)
    best, begins = cost(np.zeros_like(ends), ends), []
    for _ in range(1, k):
        best, begin = _one_more(best, cost)
        begins.append(begin)
    cuts = [x.size]
    for begin in reversed(begins):
        cuts.append(int(begin[cuts[-1]]))
    cuts = [0, *reversed(cuts)]
    means = np.diff(sums[cuts]) / np.diff(cuts) + mean
    clusters = np.repeat(np.arange(k), np.diff(cuts))
    return means.astype(np.float32), float(best[x.size]), imbalance_factor(x.size, k, clusters)


def _one_more(before: NDArray[np.float64], cost: Any) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The least cost of the first i numbers with one cluster more, for all i, and where the last cluster begins.

    Where it begins grows with i: halving the positions again and again, those of a level together look at about n
    places.
    """
    n = before.size
    best, begin = np.full(n, np.inf), np.zeros(n, dtype=np.int64)
    step = 1 << (n - 1).bit_length()
    while step:
        at = np.arange(step, n, 2 * step) if step < n else np.empty(0, dtype=np.int64)
        if at.size:
            low = np.where(at - step > 0, begin[at - step], 0)
            above = at + step
            high = np.where(above < n, begin[np.minimum(above, n - 1)], n - 1)
            high = np.minimum(np.maximum(high, low), at)
            counts = high - low + 1
            first = np.concatenate([[0], np.cumsum(counts)[:-1]])
            places = np.arange(counts.sum()) - np.repeat(first - low, counts)
            costs = before[places] + cost(places, np.repeat(at, counts))
            best[at] = np.minimum.reduceat(costs, first)
            hit = np.flatnonzero(costs == np.repeat(best[at], counts))
            owner = np.searchsorted(first, hit, side="right") - 1
            begin[at[owner[::-1]]] = places[hit[::-1]]  # the first of equals is written last
        step //= 2
    return best, begin
