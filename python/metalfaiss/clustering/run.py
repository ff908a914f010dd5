"""The iterations of k-means."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Stream
from metalfaiss._lloyd import Assigner, Averager, cluster_means, on_cpu, split_empty
from metalfaiss.clustering.parameters import (
    ClusteringInitMethod_KMEANS_PLUS_PLUS,
    ClusteringInitMethod_RANDOM,
    ClusteringIterationStats,
)
from metalfaiss.clustering.start import chain, plus_plus
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.flat import IndexFlat, IndexFlatIP, IndexFlatL2
from metalfaiss.metrics import METRIC_INNER_PRODUCT, METRIC_L2, is_similarity_metric
from metalfaiss.random import draws, permutation

if TYPE_CHECKING:
    from metalfaiss.clustering.clustering import Clustering

__all__ = ["Run", "assigns_exactly"]

REDO_SEED = 15486557  # between the seeds of one run and the next


class Run:
    """The training of a ``Clustering``: x is (n, d) float32, or codes of a codec."""

    def __init__(self, clustering: Clustering, index: Index, codec: Index | None, stream: Stream) -> None:
        self.c, self.index, self.codec, self.stream = clustering, index, codec, stream
        self.seed = clustering.seed if clustering.seed >= 0 else time.time_ns() & 0x7FFFFFFF

    def train(self, x: mx.array, weights: mx.array | None) -> None:
        c = self.c
        x, weights = self._subset(x, weights)
        if x.shape[0] == c.k:
            c.iteration_stats.append(ClusteringIterationStats(imbalance_factor=1.0))
            self._finish(self._decode(x))
            return
        if c.verbose:
            print(
                f"Clustering {x.shape[0]} points in {c.d}D to {c.k} clusters, redo {c.nredo} times, "
                f"{c.niter} iterations"
            )
        given = np.asarray(c.centroids).reshape(-1, c.d)
        self.frozen = len(given) if c.frozen_centroids else 0
        self.assign, self.average = self._assigner(x), Averager(x, weights, c.k, self.stream)
        self.begun, self.searched = time.perf_counter(), 0.0
        history: list[ClusteringIterationStats] = []
        best: tuple[float, mx.array, int] | None = None
        redos = max(c.nredo, 1) if len(given) < c.k else 1  # where all centroids are given every run is the same
        for redo in range(redos):
            centroids, stats = self._run(x, weights, given, redo)
            history += stats
            score = stats[-1].obj if stats else 0.0
            score = -score if is_similarity_metric(self.index.metric_type) else score
            if best is None or score < best[0]:
                best = score, centroids, len(history)
        assert best is not None
        c.iteration_stats.extend(history[: best[2]])
        self._finish(best[1])

    def _subset(self, x: mx.array, weights: mx.array | None) -> tuple[mx.array, mx.array | None]:
        c, n = self.c, x.shape[0]
        most = c.k * c.max_points_per_centroid
        if n > most:
            if c.verbose:
                print(f"Sampling a subset of {most} / {n} for training")
            pick = draws if c.use_faster_subsampling else permutation
            chosen = mx.array(pick(n, most, self.seed))
            return mx.take(x, chosen, axis=0), None if weights is None else mx.take(weights, chosen)
        if n < c.k * c.min_points_per_centroid:
            print(
                f"WARNING clustering {n} points to {c.k} centroids: please provide at least "
                f"{c.k * c.min_points_per_centroid} training points",
                file=sys.stderr,
            )
        return x, weights

    def _run(
        self, x: mx.array, weights: mx.array | None, given: NDArray[np.float32], redo: int
    ) -> tuple[mx.array, list[ClusteringIterationStats]]:
        c = self.c
        chosen = self._start(x, given, self.seed + 1 + redo * REDO_SEED)
        centroids = c._processed(mx.concatenate([mx.array(given), chosen]) if len(given) else chosen)
        kept: list[tuple[mx.array, mx.array, mx.array, float, float]] = []
        if isinstance(self.assign, Assigner):
            self.assign.begin()
        for i in range(c.niter):
            centroids, objective, imbalance, nsplit = self._iterate(x, weights, centroids, train_index=i == 0)
            kept.append((objective, imbalance, nsplit, time.perf_counter() - self.begun, self.searched))
            if c.verbose:
                self._print(i, kept[-1])
            if self._converged(kept):
                break
        return centroids, [_stats(entry) for entry in kept]

    def _start(self, x: mx.array, given: NDArray[np.float32], seed: int) -> mx.array:
        """Points to begin with, beside the centroids that are given."""
        c, count = self.c, self.c.k - len(given)
        if c.init_method == ClusteringInitMethod_RANDOM:
            order = permutation(x.shape[0], c.k, seed)[len(given) :]
            return self._decode(mx.take(x, mx.array(order), axis=0))
        points, known = self._decode(x), mx.array(given)
        if c.init_method == ClusteringInitMethod_KMEANS_PLUS_PLUS:
            return plus_plus(points, count, known, seed, self.stream)
        length = _host.integer("Clustering.train", "afkmc2_chain_length", c.afkmc2_chain_length, 1)
        return chain(points, count, known, seed, length, self.stream)

    def _iterate(
        self, x: mx.array, weights: mx.array | None, centroids: mx.array, *, train_index: bool
    ) -> tuple[mx.array, mx.array, mx.array, mx.array]:
        c = self.c
        begun = time.perf_counter()
        if not isinstance(self.assign, Assigner):
            self._fill(centroids, train=train_index and not self.index.is_trained)
        D, I, means, totals = self._assign_and_average(x, weights, centroids)
        self.searched += time.perf_counter() - begun
        sizes = totals if weights is None else cluster_means(D[:, None], I, None, c.k, self.stream)[1]
        objective, imbalance = mx.sum(D), _imbalance(sizes, x.shape[0], self.stream)
        if self.frozen:
            means = mx.concatenate([centroids[: self.frozen], means[self.frozen :]])
        moved, nsplit = split_empty(means, totals, self.frozen, self.stream)
        centroids = c._processed(moved)
        mx.eval(centroids, objective, imbalance, nsplit)
        if c.update_index and not isinstance(self.assign, Assigner):
            self.index.train(centroids)
        return centroids, objective, imbalance, nsplit

    def _assign_and_average(
        self, x: mx.array, weights: mx.array | None, centroids: mx.array
    ) -> tuple[mx.array, mx.array, mx.array, mx.array]:
        """Distances and ids of all points; means and weights of the clusters."""
        if self.codec is None:
            D, I = self._assign_block(x, centroids)
            mx.eval(D, I)
            return D, I, *self.average(I)
        found, sums, totals = [], mx.zeros(centroids.shape), mx.zeros((self.c.k,))
        step = self.c.decode_block_size
        for first in range(0, x.shape[0], step):
            block = self._decode(x[first : first + step])
            D, I = self._assign_block(block, centroids)
            w = None if weights is None else weights[first : first + step]
            means, more = cluster_means(block, I, w, self.c.k, self.stream)
            sums, totals = sums + means * more[:, None], totals + more
            mx.eval(D, I, sums, totals)
            found.append((D, I))
        D, I = (mx.concatenate(list(parts)) for parts in zip(*found, strict=True))
        return D, I, sums / mx.where(totals == 0, 1.0, totals)[:, None], totals

    def _assigner(self, x: mx.array) -> Assigner | None:
        if not assigns_exactly(self.index) or self.codec is not None:
            return None
        return Assigner(x, self.index.metric_type, self.c.k, self.stream)

    def _assign_block(self, block: mx.array, centroids: mx.array) -> tuple[mx.array, mx.array]:
        if isinstance(self.assign, Assigner):
            return self.assign(centroids)
        D, I = self.index.search(block, 1, stream=self.stream)
        return D[:, 0], I[:, 0]

    def _decode(self, x: mx.array) -> mx.array:
        return x if self.codec is None else mx.array(self.codec.sa_decode(x))

    def _fill(self, centroids: mx.array, *, train: bool) -> None:
        self.index.reset()
        if train:
            self.index.train(centroids)
        self.index.add(_host.to_numpy(centroids)[0])

    def _finish(self, centroids: mx.array) -> None:
        self.c._keep(_host.to_numpy(centroids)[0])
        self._fill(centroids, train=not self.index.is_trained)

    def _converged(self, kept: list[tuple[mx.array, mx.array, mx.array, float, float]]) -> bool:
        threshold = self.c.early_stop_threshold
        if len(kept) < 2 or (threshold == 0 and not on_cpu(self.stream)):
            return False
        before, now = (float(a) for a in _host.to_numpy(kept[-2][0], kept[-1][0]))
        return before != 0 and abs(before - now) / abs(before) <= threshold

    def _print(self, i: int, entry: tuple[mx.array, mx.array, mx.array, float, float]) -> None:
        s = _stats(entry)
        print(
            f"  Iteration {i} ({s.time:.2f} s, search {s.time_search:.2f} s): objective={s.obj:g} "
            f"imbalance={s.imbalance_factor:.3f} nsplit={s.nsplit}",
            flush=True,
        )


def assigns_exactly(index: Index) -> bool:
    """Whether the nearest centroids are what the index finds, so that it need not be asked."""
    flat = type(index) in (IndexFlat, IndexFlatL2, IndexFlatIP)
    return flat and index.metric_type in (METRIC_L2, METRIC_INNER_PRODUCT)


def _imbalance(sizes: mx.array, n: int, stream: Stream) -> mx.array:
    return mx.sum(mx.square(sizes, stream=stream), stream=stream) * (sizes.shape[0] / float(n) ** 2)


def _stats(entry: tuple[mx.array, mx.array, mx.array, float, float]) -> ClusteringIterationStats:
    obj, imbalance, nsplit = (a.item() for a in _host.to_numpy(*entry[:3]))
    return ClusteringIterationStats(obj, entry[3], entry[4], imbalance, nsplit)
