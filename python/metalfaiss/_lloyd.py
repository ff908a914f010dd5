"""The operations of an iteration of k-means: native kernels on the CPU, MLX's own operations on a GPU.

Assignment is an exact search either way. On the CPU the last assignment guides the next: sketches of the vectors,
16-bit integers of their coordinates, or of those in the leading subspace, show which centroids cannot be nearer than
that of before (the nearest by sketches where there is none), and only the others are measured. The result does not
depend on it.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core, _host
from metalfaiss._host import Stream
from metalfaiss.distances import knn
from metalfaiss.faissmlx.svd import topk_svd
from metalfaiss.metrics import METRIC_L2
from metalfaiss.random import permutation

__all__ = ["Assigner", "centroids_of", "cluster_means", "on_cpu", "split_empty"]

SKETCH = 95  # coordinates of the leading subspace
# Of how many coordinates all pairs are compared: where a guess is known, and where none is.
GUIDED, UNGUIDED = (31, SKETCH + 1), (63, 191)
MIN_DIMENSIONS = 32  # below, measuring is nearly as cheap as a sketch
MIN_CENTROIDS = 128  # below, an iteration is too short to pay for sketches
SAMPLE = 4096  # vectors the subspace is learnt from
JUDGES = 256  # vectors that tell which sketches pay
# What a coordinate costs of pairs that are compared whole, and of those that are measured, where one of all pairs is 1.
COMPARE, MEASURE = 3.0, 16.0
UNCLEAR = 0.6  # of that cost: above it sketches of all coordinates are tried as well
SKETCHED = 50.0  # what a coordinate of a new sketch costs
LIMIT = 2.0  # of the cost of all pairs of all coordinates: that of an exhaustive search

BLOCK = 1 << 16  # vectors of which a GPU's one-hot matrix is held at a time


def on_cpu(stream: Stream) -> bool:
    """Whether work for the stream runs on the CPU."""
    if stream is None:
        return bool(mx.default_device().type == mx.DeviceType.cpu)
    device = stream.device if isinstance(stream, mx.Stream) else stream
    return bool(mx.Device(device.type if isinstance(device, mx.Device) else device).type == mx.DeviceType.cpu)


Sketch = tuple[mx.array, mx.array]


class Assigner:
    """Finds the nearest centroid of each vector, again and again.

    Args:
        x: shape (n, d), float32.
        metric: ``METRIC_L2`` or ``METRIC_INNER_PRODUCT``.
        k: how many centroids there will be.
        stream: where to run.
        like: vectors from which to learn the subspace, in place of some of x.
    """

    def __init__(self, x: mx.array, metric: int, k: int, stream: Stream, like: mx.array | None = None) -> None:
        self._x, self._metric, self._stream = x, metric, stream
        self._guess: mx.array | None = None
        self._sketches: dict[bool, Sketch] = {}  # of x: in the subspace or not
        n, d = x.shape
        self._sketched = metric == METRIC_L2 and on_cpu(stream) and d >= MIN_DIMENSIONS and k >= MIN_CENTROIDS and n > 0
        if self._sketched:
            self._mean, self._basis = _subspace(x if like is None else like, min(SKETCH, d // 2))
            self._judges = x[:: max(1, n // JUDGES)]

    def __call__(self, centroids: mx.array) -> tuple[mx.array, mx.array]:
        """Distances (n,), float32, and ids (n,), int64."""
        way = self._choose(centroids)
        if way is None:
            D, I = knn(self._x, centroids, 1, self._metric, stream=self._stream)
            found = D[:, 0], I[:, 0]
        else:
            short, lead = way
            if short not in self._sketches:
                self._sketches = {short: self._sketch_of(self._x, short)}
            own, other = self._sketches[short], self._sketch_of(centroids, short)
            found = _core.kmeans_assign(self._x, centroids, own, other, self._guess, lead, stream=self._stream)[:2]
        self._guess = found[1]
        return found

    def at_once(self, x: NDArray[np.float32], centroids: mx.array) -> NDArray[np.int64] | None:
        """Ids (n,) for NumPy vectors, of which its own are some, without a graph; None where sketches do not pay."""
        way = self._choose(centroids)
        if way is None:
            return None
        arrays = [mx.contiguous(a) for a in (centroids, self._mean, self._basis)]
        mx.eval(arrays)
        return _core.kmeans_nearest(x, arrays[0], arrays[1], arrays[2] if way[0] else None, way[1])

    def _choose(self, centroids: mx.array) -> tuple[bool, int] | None:
        """Whether sketches are of the subspace or of all coordinates, and their lead; None where a search is faster."""
        if not self._sketched:
            return None
        d = centroids.shape[1]
        leads = UNGUIDED if self._guess is None else GUIDED
        ways = [(True, min(lead, self._basis.shape[1] + 1)) for lead in leads]
        cost, way = min((self._cost(centroids, *way), way) for way in ways)
        if cost > UNCLEAR * centroids.shape[0] * d:
            whole = (False, min(leads[-1], d))
            cost, way = min((cost, way), (self._cost(centroids, *whole), whole))
        return way if cost < LIMIT * centroids.shape[0] * d else None

    def _cost(self, centroids: mx.array, short: bool, lead: int) -> float:
        """Of a vector's assignment, in coordinates of all pairs, as some vectors tell."""
        judges, n, (k, d) = self._judges, self._x.shape[0], centroids.shape
        guess = None if self._guess is None else self._guess[:: max(1, n // JUDGES)]
        own, other = self._sketch_of(judges, short), self._sketch_of(centroids, short)
        counts = _core.kmeans_assign(judges, centroids, own, other, guess, lead, stream=self._stream)[2]
        compared, measured = _host.to_numpy(counts)[0] / judges.shape[0]
        sketched = 0 if short in self._sketches else SKETCHED * d
        return float(k * (lead + 1) + compared * own[0].shape[1] * COMPARE + measured * d * MEASURE + sketched)

    def forget(self) -> None:
        """What comes next is not near to what was."""
        self._guess = None

    def _sketch_of(self, vectors: mx.array, short: bool) -> Sketch:
        return _core.kmeans_sketch(vectors, self._mean, self._basis if short else None, stream=self._stream)


def _subspace(x: mx.array, p: int) -> tuple[mx.array, mx.array]:
    """A mean (d,) and an orthonormal basis (d, p), no singular value of it above 1, of where x lies."""
    sample = x[:: max(1, x.shape[0] // SAMPLE)]
    mean = mx.mean(sample, axis=0)
    _, _, Vt = topk_svd(sample - mean, min(p, *sample.shape), iters=2, oversample=8)
    V = mx.transpose(Vt)
    excess = mx.sqrt(mx.sum(mx.square(mx.matmul(Vt, V) - mx.eye(Vt.shape[0]))))
    return mean, V / mx.sqrt(1 + excess) * (1 - 1e-6)


def cluster_means(
    x: mx.array, ids: mx.array, weights: mx.array | None, k: int, stream: Stream
) -> tuple[mx.array, mx.array]:
    """The mean of each cluster's vectors, (k, d), zero for empty ones, and total weights, (k,).

    On the CPU a native kernel sums in float64. On a GPU a product with the one-hot matrix of the ids does, block by
    block; x is split into two parts of fewer bits, so that products that round their operands (TF32) do not show.
    """
    if on_cpu(stream):
        return _core.kmeans_means(x, ids, weights, k, stream=stream)
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
    assign, centroids = Assigner(x, METRIC_L2, k, stream), start
    for _ in range(niter):
        _, ids = assign(centroids)
        means, totals = cluster_means(x, ids, None, k, stream)
        centroids, _ = split_empty(means, totals, 0, stream)
        mx.eval(centroids)
    return centroids
