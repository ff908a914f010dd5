"""The nearest centroid of many vectors: an exact search, guided by one of shorter vectors."""

from __future__ import annotations

import mlx.core as mx

from metalfaiss import _core
from metalfaiss._lloyd import MIN_CENTROIDS, MIN_DIMENSIONS, SKETCH, Assigner, on_cpu
from metalfaiss.distances import knn
from metalfaiss.metrics import METRIC_L2

__all__ = ["guided", "nearest"]

_FEW = 16  # vectors a centroid: with fewer, to learn the subspace costs as much as it saves


def guided(n: int, d: int, nlist: int, metric: int) -> bool:
    """Whether ``nearest`` is the faster way to assign n vectors."""
    return metric == METRIC_L2 and on_cpu(None) and d >= MIN_DIMENSIONS and nlist >= MIN_CENTROIDS and n >= _FEW * nlist


def nearest(x: mx.array, centroids: mx.array) -> mx.array:
    """The nearest centroid of each vector, (n,), by float32 distances.

    Sketches, the coordinates of vectors and centroids in the leading subspace of the vectors, are searched first. What
    they find guides the exact assignment of k-means, which measures only the centroids that may be nearer.
    """
    assigner = Assigner(x, METRIC_L2, centroids.shape[0], None)
    sketches, others = assigner._sketch, assigner._sketch_of(centroids)
    assert sketches is not None
    _, guess = knn(sketches[:, : SKETCH + 1], others[:, : SKETCH + 1], 1)
    found: mx.array = _core.kmeans_assign(x, centroids, sketches, others, guess[:, 0])[1]
    return found
