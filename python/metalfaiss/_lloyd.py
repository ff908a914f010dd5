"""The operations of an iteration of k-means: native kernels on the CPU, MLX's own operations on a GPU.

Assignment is an exact search either way. On the CPU distances of vectors rounded to 8-bit integers show which centroids
cannot be nearest, and only the others are measured.
"""

from __future__ import annotations

import mlx.core as mx

from metalfaiss import _core, _host
from metalfaiss._host import Stream
from metalfaiss.distances import knn
from metalfaiss.metrics import METRIC_L2
from metalfaiss.random import permutation

__all__ = [
    "Assigner",
    "Averager",
    "centroids_of",
    "cluster_means",
    "nearest",
    "on_cpu",
    "rounding_pays",
    "split_empty",
    "worthwhile",
]

MIN_DIMENSIONS = 16  # below, to measure is nearly as cheap as to round
MIN_CENTROIDS = 64  # below, an iteration is too short to gain much
JUDGES = 256  # vectors that tell whether rounding pays,
MOST_MEASURED = 0.25  # and of how many centroids, at most, they are measured if it does
BOUNDS = 1 << 28  # bytes of bounds that are kept from one iteration to the next, at most

BLOCK = 1 << 16  # vectors of which a GPU's one-hot matrix is held at a time


def on_cpu(stream: Stream) -> bool:
    """Whether work for the stream runs on the CPU."""
    if stream is None:
        return bool(mx.default_device().type == mx.DeviceType.cpu)
    device = stream.device if isinstance(stream, mx.Stream) else stream
    return bool(mx.Device(device.type if isinstance(device, mx.Device) else device).type == mx.DeviceType.cpu)


class Assigner:
    """Finds the nearest centroid of each vector, again and again.

    Args:
        x: shape (n, d), float32.
        metric: ``METRIC_L2`` or ``METRIC_INNER_PRODUCT``.
        k: how many centroids there will be.
        stream: where to run.
    """

    def __init__(self, x: mx.array, metric: int, k: int, stream: Stream) -> None:
        self._x, self._metric, self._stream = x, metric, stream
        self._rounds: bool | None = None if worthwhile(x.shape, k, metric, stream) else False
        self._k = k
        self._memory: _core.KmeansMemory | None = None

    def __call__(self, centroids: mx.array) -> tuple[mx.array, mx.array]:
        """Distances (n,), float32, and ids (n,), int64."""
        if self._rounds is None:
            self._rounds = rounding_pays(self._x, centroids)
            if self._rounds:
                (n, d), k = self._x.shape, self._k
                self._memory = _core.KmeansMemory(n, k, d, n * k <= BOUNDS)
        if self._rounds:
            return _core.kmeans_assign(self._x, centroids, self._memory, stream=self._stream)[:2]
        D, I = knn(self._x, centroids, 1, self._metric, stream=self._stream)
        return D[:, 0], I[:, 0]

    def begin(self) -> None:
        """The centroids that come next are not near to those that were."""
        if self._memory is not None:
            self._memory.forget()


def nearest(x: mx.array, centroids: mx.array) -> mx.array:
    """The nearest centroid of each vector, (n,), as an iteration finds it."""
    if worthwhile(x.shape, centroids.shape[0], METRIC_L2, None) and rounding_pays(x, centroids):
        return _core.kmeans_assign(x, centroids)[1]
    return knn(x, centroids, 1, METRIC_L2)[1][:, 0]


def worthwhile(shape: tuple[int, ...], k: int, metric: int, stream: Stream) -> bool:
    """Whether rounding may pay for vectors of this shape, (n, d), and k centroids."""
    n, d = shape
    return metric == METRIC_L2 and on_cpu(stream) and d >= MIN_DIMENSIONS and k >= MIN_CENTROIDS and n >= JUDGES


def rounding_pays(x: mx.array, centroids: mx.array) -> bool:
    """Whether few of the centroids have to be measured, as some of the vectors tell."""
    judges = x[:: max(1, x.shape[0] // JUDGES)]
    measured = _host.to_numpy(_core.kmeans_assign(judges, centroids, stream=mx.cpu)[2])[0][0]
    return bool(measured <= MOST_MEASURED * judges.shape[0] * centroids.shape[0])


class Averager:
    """Finds the means of the clusters of vectors, again and again: on the CPU only vectors that moved are read.

    Args:
        x: shape (n, d), float32.
        weights: shape (n,), or None.
        k: how many clusters.
        stream: where to run.
    """

    def __init__(self, x: mx.array, weights: mx.array | None, k: int, stream: Stream) -> None:
        self._x, self._weights, self._k, self._stream = x, weights, k, stream
        self._before: tuple[mx.array, mx.array] | None = None

    def __call__(self, ids: mx.array) -> tuple[mx.array, mx.array]:
        """As ``cluster_means``."""
        if self._weights is not None or not on_cpu(self._stream):
            return cluster_means(self._x, ids, self._weights, self._k, self._stream)
        means, totals, sums = _core.kmeans_means(self._x, ids, None, self._k, self._before, stream=self._stream)
        self._before = ids, sums
        return means, totals


def cluster_means(
    x: mx.array, ids: mx.array, weights: mx.array | None, k: int, stream: Stream
) -> tuple[mx.array, mx.array]:
    """The mean of each cluster's vectors, (k, d), zero for empty ones, and total weights, (k,).

    On the CPU a native kernel sums in float64. On a GPU a product with the one-hot matrix of the ids does, block by
    block; x is split into two parts of fewer bits, so that products that round their operands (TF32) do not show.
    """
    if on_cpu(stream):
        return _core.kmeans_means(x, ids, weights, k, stream=stream)[:2]
    with mx.stream(stream) if stream is not None else mx.stream(mx.default_device()):
        sums, totals = mx.zeros((k, x.shape[1])), mx.zeros((k,))
        clusters = mx.arange(k, dtype=mx.int64)[:, None]
        for first in range(0, x.shape[0], BLOCK):
            rows, own = x[first : first + BLOCK], ids[first : first + BLOCK]
            member = mx.equal(clusters, own[None]).astype(mx.float32)
            if weights is not None:
                rows = rows * weights[first : first + BLOCK, None]
            high = rows.astype(mx.bfloat16).astype(mx.float32)
            sums = sums + (mx.matmul(member, high) + mx.matmul(member, rows - high))
            w = mx.ones(own.shape) if weights is None else weights[first : first + BLOCK]
            totals = totals + mx.sum(member * w, axis=1)
        return sums / mx.where(totals == 0, 1.0, totals)[:, None], totals


SHIFT = 1 / 1024  # relative, of the two halves of a cluster: a little above the precision of float16


def split_empty(centroids: mx.array, totals: mx.array, frozen: int, stream: Stream) -> tuple[mx.array, mx.array]:
    """Gives the r-th empty cluster half of the r-th largest one: both get its centroid, shifted a little each way.

    Works without looking at values on the host. The first ``frozen`` clusters are left alone.

    Args:
        centroids: shape (k, d).
        totals: the weight of each, shape (k,).
        frozen: how many stay as they are.
        stream: where to run.

    Returns:
        The centroids, and how many were empty, an int32 scalar.
    """
    with mx.stream(stream) if stream is not None else mx.stream(mx.default_device()):
        own = totals[frozen:]
        k, d = own.shape[0], centroids.shape[1]
        if k == 0:
            return centroids, mx.array(0, dtype=mx.int32)
        empty = own == 0
        count = mx.sum(empty.astype(mx.int32))
        rank = mx.cumsum(empty.astype(mx.int32)) - 1  # of an empty cluster among the empty ones
        largest = mx.argsort(-own)
        place = mx.argsort(largest)  # of a cluster among the largest
        source = mx.where(empty, mx.take(largest, mx.maximum(rank, 0)), mx.arange(k, dtype=largest.dtype))
        halved = mx.logical_and(place.astype(mx.int32) < count, mx.logical_not(empty))
        side = mx.where(empty, 1.0, mx.where(halved, -1.0, 0.0))[:, None]
        sign = mx.where(mx.arange(d) % 2 == 0, 1.0, -1.0)
        moved = mx.take(centroids[frozen:], source, axis=0) * (1 + SHIFT * side * sign)
        return mx.concatenate([centroids[:frozen], moved]) if frozen else moved, count


def centroids_of(x: mx.array, k: int, niter: int, seed: int, start: mx.array | None, stream: Stream = None) -> mx.array:
    """The centroids (k, d) of x (n, d) after some iterations, from those at the start or from random points."""
    if start is None:
        start = mx.take(x, mx.array(permutation(x.shape[0], k, seed + 1)), axis=0)
    assign, average, centroids = Assigner(x, METRIC_L2, k, stream), Averager(x, None, k, stream), start
    for _ in range(niter):
        _, ids = assign(centroids)
        means, totals = average(ids)
        centroids, _ = split_empty(means, totals, 0, stream)
        mx.eval(centroids)
    return centroids
