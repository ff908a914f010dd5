"""The nearest centroid of many vectors: an exact search, by rounded vectors where that pays."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core
from metalfaiss._lloyd import JUDGES, nearest, rounding_pays, worthwhile

__all__ = ["nearest", "nearest_at_once", "worthwhile"]


def nearest_at_once(x: NDArray[np.float32], centroids: mx.array, metric: int) -> NDArray[np.int64]:
    """The nearest of evaluated centroids by either metric for contiguous NumPy vectors, without a graph or a copy."""
    if worthwhile(x.shape, centroids.shape[0], metric, None):
        rows = mx.contiguous(centroids)
        mx.eval(rows)
        if rounding_pays(mx.array(np.ascontiguousarray(x[:: max(1, len(x) // JUDGES)])), rows):
            return _core.kmeans_nearest(x, rows)
    return _core.nearest_now(x, centroids, metric)
