"""The operations of an iteration of k-means: native kernels on the CPU, MLX's own operations on a GPU.

Assignment is an exact search either way. On the CPU the last assignment guides the next: sketches of the vectors, their
coordinates in the leading subspace, show which centroids cannot be nearer than that of before (the nearest by sketches
where there is none), and only the others are measured. The result does not depend on it.
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
from metalfaiss.pairwise import pairwise_distances
from metalfaiss.random import permutation

__all__ = ["Assigner", "centroids_of", "cluster_means", "on_cpu", "split_empty"]

# Tuned on Zen 3, 2026-11, 84000 x 384 vectors, 1024 centroids: with a guess 0.15 to 0.2 times an exhaustive search,
# without one 0.2 to 0.3; 63 coordinates take up to 1.4 times as long, 127 as long.
SKETCH = 95
LEAD = 31  # coordinates that are looked at for all pairs; where nothing is known of the nearest centroid
LEAD_UNGUIDED = 47
MIN_DIMENSIONS = 126  # below, a sketch is hardly shorter than the vector
MIN_CENTROIDS = 128  # below, an iteration is too short to pay for sketches
SAMPLE = 4096  # vectors the subspace is learnt from
JUDGES = 256  # vectors that tell whether sketches pay
# In exhaustive searches: what it costs to look at all leading coordinates, at all sketches, and at all vectors.
LEADING_COST, SKETCH_COST, VECTOR_COST = 0.15, 1.7, 6.5
LIMIT = 0.85  # of the cost of an exhaustive search

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
        like: vectors from which to learn the subspace, in place of some of x.
    """

    def __init__(self, x: mx.array, metric: int, k: int, stream: Stream, like: mx.array | None = None) -> None:
        self._x, self._metric, self._stream = x, metric, stream
        self._guess: mx.array | None = None
        self._sketch: mx.array | None = None
        n, d = x.shape
        guided = metric == METRIC_L2 and on_cpu(stream) and d >= MIN_DIMENSIONS and k >= MIN_CENTROIDS and n > SKETCH
        if guided:
            self._mean, self._basis = _subspace(x if like is None else like, min(SKETCH, d))
            self._sketch = self._sketch_of(x)

    def __call__(self, centroids: mx.array) -> tuple[mx.array, mx.array]:
        """Distances (n,), float32, and ids (n,), int64."""
        found = None if self._sketch is None else self._guided(self._sketch, centroids)
        if found is None:
            D, I = knn(self._x, centroids, 1, self._metric, stream=self._stream)
            found = D[:, 0], I[:, 0]
        self._guess = found[1]
        return found

    def _guided(self, sketch: mx.array, centroids: mx.array) -> tuple[mx.array, mx.array] | None:
        """The same where sketches are expected to be the faster way, else None."""
        short, guess = self._sketch_of(centroids), self._guess
        lead = min(LEAD_UNGUIDED if guess is None else LEAD, short.shape[1] - 2)
        if _host.to_numpy(self._cost(sketch, short, centroids, lead))[0] > LIMIT:
            return None
        return _core.kmeans_assign(self._x, centroids, sketch, short, guess, lead, stream=self._stream)

    def at_once(self, x: NDArray[np.float32], centroids: mx.array) -> NDArray[np.int64] | None:
        """Ids (n,) for NumPy vectors, of which its own are some, without a graph; None where sketches do not pay."""
        if self._sketch is None:
            return None
        short = self._sketch_of(centroids)
        lead = min(LEAD_UNGUIDED, short.shape[1] - 2)
        if _host.to_numpy(self._cost(self._sketch, short, centroids, lead))[0] > LIMIT:
            return None
        centroids, mean, basis = (mx.contiguous(a) for a in (centroids, self._mean, self._basis))
        mx.eval(centroids, mean, basis)
        return _core.kmeans_nearest(x, centroids, mean, basis, lead)

    def _cost(self, sketch: mx.array, short: mx.array, centroids: mx.array, lead: int) -> mx.array:
        """Of an assignment by sketches, in exhaustive searches, as some vectors tell."""
        step = max(1, sketch.shape[0] // JUDGES)
        judges = sketch[::step]
        leading = pairwise_distances(_leading(judges, lead), _leading(short, lead), stream=self._stream)
        bounds = pairwise_distances(judges[:, :-1], short[:, :-1], stream=self._stream)
        nearest = mx.argmin(bounds, axis=1) if self._guess is None else mx.maximum(self._guess[::step], 0)
        guessed = mx.sum(mx.square(self._x[::step] - mx.take(centroids, nearest, axis=0)), axis=1, keepdims=True)
        seen, measured = (mx.mean((b <= guessed).astype(mx.float32)) for b in (leading, bounds))
        return LEADING_COST + SKETCH_COST * seen + VECTOR_COST * measured

    def forget(self) -> None:
        """What comes next is not near to what was."""
        self._guess = None

    def _sketch_of(self, vectors: mx.array) -> mx.array:
        return _core.kmeans_sketch(vectors, self._mean, self._basis, stream=self._stream)


def _leading(sketch: mx.array, lead: int) -> mx.array:
    """The leading coordinates of sketches, and the length of the rest."""
    rest = mx.sqrt(mx.sum(mx.square(sketch[:, lead:-1]), axis=1, keepdims=True))
    return mx.concatenate([sketch[:, :lead], rest], axis=1)


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
