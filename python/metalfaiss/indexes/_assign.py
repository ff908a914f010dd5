"""The nearest centroid of many vectors: an exact search, by rounded vectors where that pays."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core
from metalfaiss._lloyd import JUDGES, Assigner, rounding_pays, worthwhile
from metalfaiss.metrics import METRIC_L2

__all__ = ["nearest", "nearest_at_once", "worthwhile"]


def nearest(x: mx.array, centroids: mx.array) -> mx.array:
    """The nearest centroid of each vector, (n,), as an iteration of k-means finds it."""
    return Assigner(x, METRIC_L2, centroids.shape[0], None)(centroids)[1]


def nearest_at_once(x: NDArray[np.float32], centroids: mx.array) -> NDArray[np.int64] | None:
    """``nearest`` of NumPy vectors, without a copy; None where rounding does not pay."""
    some = mx.array(np.ascontiguousarray(x[:: max(1, len(x) // JUDGES)]))
    if not rounding_pays(some, centroids):
        return None
    rows = mx.contiguous(centroids)
    mx.eval(rows)
    return _core.kmeans_nearest(x, rows)
