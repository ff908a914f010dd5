"""The nearest centroid of many vectors: an exact search, guided by one of shorter vectors where that pays."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss._lloyd import JUDGES, MIN_CENTROIDS, MIN_DIMENSIONS, Assigner, on_cpu
from metalfaiss.metrics import METRIC_L2

__all__ = ["guided", "nearest", "nearest_at_once"]

_FEW = 8  # vectors a centroid: with fewer, to learn the subspace costs as much as it saves


def guided(n: int, d: int, nlist: int, metric: int) -> bool:
    """Whether ``nearest`` is the faster way to assign n vectors."""
    return metric == METRIC_L2 and on_cpu(None) and d >= MIN_DIMENSIONS and nlist >= MIN_CENTROIDS and n >= _FEW * nlist


def nearest(x: mx.array, centroids: mx.array) -> mx.array:
    """The nearest centroid of each vector, (n,), as an iteration of k-means finds it."""
    return Assigner(x, METRIC_L2, centroids.shape[0], None, like=centroids)(centroids)[1]


def nearest_at_once(x: NDArray[np.float32], centroids: mx.array) -> NDArray[np.int64] | None:
    """``nearest`` of NumPy vectors, without a copy; None where sketches do not pay."""
    some = mx.array(np.ascontiguousarray(x[:: max(1, len(x) // JUDGES)]))
    return Assigner(some, METRIC_L2, centroids.shape[0], None, like=centroids).at_once(x, centroids)
