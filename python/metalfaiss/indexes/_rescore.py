"""Distances of queries to a few vectors each."""

from __future__ import annotations

import mlx.core as mx

from metalfaiss._host import Stream
from metalfaiss.metrics import METRIC_INNER_PRODUCT, METRIC_L2
from metalfaiss.pairwise import pairwise_distances

__all__ = ["distances_to"]


def distances_to(x: mx.array, stored: mx.array, metric: int, metric_arg: float, stream: Stream) -> mx.array:
    """Distances (n, m) of queries (n, d) to vectors (n, m, d)."""
    queries = mx.expand_dims(x, 1, stream=stream)
    if metric == METRIC_INNER_PRODUCT:
        return mx.sum(mx.multiply(queries, stored, stream=stream), axis=-1, stream=stream)
    if metric == METRIC_L2:
        return mx.sum(mx.square(mx.subtract(queries, stored, stream=stream), stream=stream), axis=-1, stream=stream)
    each = zip(x[:, None], stored, strict=True)
    rows = [pairwise_distances(query, vectors, metric, metric_arg, stream=stream) for query, vectors in each]
    return mx.concatenate(rows, stream=stream) if rows else mx.zeros(stored.shape[:2])
