"""K-means: FAISS's ``Kmeans`` and ``Clustering``."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, fields
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Array, ArrayLike, Stream
from metalfaiss._lloyd import Assigner, cluster_means, on_cpu, split_empty
from metalfaiss._random import draws, permutation
from metalfaiss.faissmlx._operations import on
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.flat import IndexFlat, IndexFlatIP, IndexFlatL2
from metalfaiss.metrics import METRIC_INNER_PRODUCT, METRIC_L2, is_similarity_metric
from metalfaiss.vectors import Float32Vector

__all__ = [
    "Clustering",
    "ClusteringInitMethod_RANDOM",
    "ClusteringIterationStats",
    "ClusteringParameters",
    "IterationStats",
    "Kmeans",
    "kmeans_clustering",
]

ClusteringInitMethod_RANDOM = 0

REDO_SEED = 15486557  # between the seeds of one run and the next


@dataclass
class ClusteringParameters:
    """How k-means runs.

    Attributes:
        niter: iterations.
        nredo: how often it is run, each time from other points; the best run is kept.
        verbose: prints each iteration.
        spherical: whether centroids are brought to length 1.
        int_centroids: whether centroids are rounded to integers.
        update_index: whether the index is trained again at each iteration.
        frozen_centroids: whether the given initial centroids stay as they are.
        min_points_per_centroid: with fewer points a warning is printed.
        max_points_per_centroid: with more points a random subset is used.
        seed: of what is random; negative for the clock.
        decode_block_size: how many encoded vectors are decoded at a time.
        check_input_data_for_NaNs: whether NaNs and infinities are looked for.
        use_faster_subsampling: whether the subset comes from a faster random generator.
        init_method: how initial centroids are chosen: ``ClusteringInitMethod_RANDOM``.
        early_stop_threshold: stops where the objective changes by this, relative, or less. On a GPU 0 never stops,
            since to look at the objective would have the GPU wait.
    """

    niter: int = 25
    nredo: int = 1
    verbose: bool = False
    spherical: bool = False
    int_centroids: bool = False
    update_index: bool = False
    frozen_centroids: bool = False
    min_points_per_centroid: int = 39
    max_points_per_centroid: int = 256
    seed: int = 1234
    decode_block_size: int = 32768
    check_input_data_for_NaNs: bool = True
    use_faster_subsampling: bool = False
    init_method: int = ClusteringInitMethod_RANDOM
    early_stop_threshold: float = 0.0

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "init_method" and value != ClusteringInitMethod_RANDOM:
            raise NotImplementedError(
                f"[{type(self).__name__}] init_method must be ClusteringInitMethod_RANDOM (0). Received {value!r}."
            )
        super().__setattr__(name, value)


_PARAMETERS = tuple(field.name for field in fields(ClusteringParameters))


@dataclass
class ClusteringIterationStats:
    """What happened in an iteration.

    Attributes:
        obj: the objective: the sum of what the index says of each point and its centroid.
        time: seconds since training began.
        time_search: of those, how many were spent in searches.
        imbalance_factor: 1 where all clusters have one size, more the less they do.
        nsplit: how many clusters were split to fill empty ones.
    """

    obj: float = 0.0
    time: float = 0.0
    time_search: float = 0.0
    imbalance_factor: float = 0.0
    nsplit: int = 0


class IterationStats(list[ClusteringIterationStats]):
    """The iterations in order, with the methods of FAISS's vector of them."""

    def size(self) -> int:
        return len(self)

    def at(self, i: int) -> ClusteringIterationStats:
        return self[i]


class Clustering(ClusteringParameters):
    """K-means for the index that assigns points to centroids: at each iteration it holds the centroids.

    Args:
        d: the dimension of the vectors.
        k: how many clusters.
        cp: parameters.

    Attributes:
        centroids: k * d values, a ``Float32Vector``; values put there before ``train`` are the first centroids.
        iteration_stats: of every iteration, up to the last of the run that was kept.
    """

    def __init__(self, d: int, k: int, cp: ClusteringParameters | None = None) -> None:
        given = {} if cp is None else {name: getattr(cp, name) for name in _PARAMETERS}
        super().__init__(**given)
        self.d = _host.integer("Clustering", "d", d, 1)
        self.k = _host.integer("Clustering", "k", k, 1)
        self.centroids = Float32Vector()
        self.iteration_stats = IterationStats()

    def train(self, x: Array, index: Index, weights: ArrayLike | None = None, *, stream: Stream = None) -> None:
        """Finds k centroids of the vectors, and leaves them in ``centroids`` and in the index.

        Args:
            x: shape (n, d), n at least k; used as float32.
            index: assigns points. An ``IndexFlat`` is searched with what is known from the iteration before; any
                other is only asked.
            weights: of the vectors, shape (n,).
            stream: where to run.

        Raises:
            TypeError: ``x`` is neither a NumPy array nor an ``mx.array``, or is complex.
            ValueError: a shape is wrong.
            RuntimeError: there are fewer vectors than clusters, they hold NaNs or infinities, or the index or initial
                centroids have another dimension.
        """
        vectors = _host.vectors("Clustering.train", x, self.d).astype(mx.float32)
        self._check(vectors.shape[0], index)
        if self.check_input_data_for_NaNs and not _host.to_numpy(_all_finite(vectors, stream))[0]:
            raise RuntimeError("[Clustering.train] x must hold finite values. Received NaNs or infinities.")
        with on(stream):
            _Run(self, index, None, stream).train(vectors, self._weights(weights, vectors.shape[0]))

    def train_encoded(
        self, x: Array, codec: Index, index: Index, weights: ArrayLike | None = None, *, stream: Stream = None
    ) -> None:
        """``train`` on encoded vectors, which are decoded block by block.

        Args:
            x: codes, shape (n, ``codec.sa_code_size()``), uint8.
            codec: decodes them.
            index: assigns points.
            weights: of the vectors, shape (n,).
            stream: where to run.

        Raises:
            TypeError: ``x`` is not uint8.
            ValueError: a shape is wrong.
            RuntimeError: as ``train`` does, but NaNs are not looked for.
        """
        op = "Clustering.train_encoded"
        codes = _host.to_mlx(op, "x", x)
        if codes.dtype != mx.uint8:
            raise TypeError(f"[{op}] x must be uint8. Received {codes.dtype}.")
        size = codec.sa_code_size()
        if codes.ndim != 2 or codes.shape[1] != size:
            raise ValueError(f"[{op}] x must have shape (n, {size}). Received {tuple(codes.shape)}.")
        if codec.d != self.d:
            raise RuntimeError(f"[{op}] codec must have d {self.d}. Received {codec.d}.")
        self._check(codes.shape[0], index)
        with on(stream):
            _Run(self, index, codec, stream).train(codes, self._weights(weights, codes.shape[0]))

    def post_process_centroids(self) -> None:
        """Brings ``centroids`` to length 1 if ``spherical``, and rounds them if ``int_centroids``."""
        done = self._processed(mx.array(np.asarray(self.centroids)).reshape(-1, self.d))
        self._keep(_host.to_numpy(done)[0])

    def _processed(self, centroids: mx.array) -> mx.array:
        if self.spherical:
            norms = mx.sqrt(mx.sum(mx.square(centroids), axis=1, keepdims=True))
            centroids = centroids / mx.where(norms == 0, 1.0, norms)
        return mx.round(centroids) if self.int_centroids else centroids

    def _keep(self, centroids: NDArray[np.float32]) -> None:
        self.centroids = Float32Vector(centroids.reshape(-1))

    def _check(self, n: int, index: Index) -> None:
        op = "Clustering.train"
        if n < self.k:
            raise RuntimeError(f"[{op}] x must have at least k = {self.k} rows. Received {n}.")
        if index.d != self.d:
            raise RuntimeError(f"[{op}] index must have d {self.d}. Received {index.d}.")
        if self.centroids.size() % self.d or self.centroids.size() > self.k * self.d:
            raise RuntimeError(
                f"[{op}] centroids must hold at most {self.k} vectors of {self.d}. Received {self.centroids.size()} "
                "values."
            )

    def _weights(self, weights: ArrayLike | None, n: int) -> mx.array | None:
        if weights is None:
            return None
        w = _host.to_mlx("Clustering.train", "weights", weights).astype(mx.float32)
        if w.shape != (n,):
            raise ValueError(f"[Clustering.train] weights must have shape ({n},). Received {tuple(w.shape)}.")
        return w


def _all_finite(x: mx.array, stream: Stream) -> mx.array:
    """A sum is not finite where a value is not; where a sum overflows, values are looked at one by one."""
    if _host.to_numpy(mx.isfinite(mx.sum(x, stream=stream), stream=stream))[0]:
        return mx.array(True)
    return mx.all(mx.isfinite(x, stream=stream), stream=stream)


class _Run:
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
        self.assign = self._assigner(x)
        self.begun, self.searched = time.perf_counter(), 0.0
        history: list[ClusteringIterationStats] = []
        best: tuple[float, mx.array, int] | None = None
        for redo in range(max(c.nredo, 1)):
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
        order = permutation(x.shape[0], c.k, self.seed + 1 + redo * REDO_SEED)[len(given) :]
        chosen = self._decode(mx.take(x, mx.array(order), axis=0))
        centroids = c._processed(mx.concatenate([mx.array(given), chosen]) if len(given) else chosen)
        kept: list[tuple[mx.array, mx.array, mx.array, float, float]] = []
        if isinstance(self.assign, Assigner):
            self.assign.forget()
        for i in range(c.niter):
            centroids, objective, imbalance, nsplit = self._iterate(x, weights, centroids, train_index=i == 0)
            kept.append((objective, imbalance, nsplit, time.perf_counter() - self.begun, self.searched))
            if c.verbose:
                self._print(i, kept[-1])
            if self._converged(kept):
                break
        return centroids, [_stats(entry) for entry in kept]

    def _iterate(
        self, x: mx.array, weights: mx.array | None, centroids: mx.array, *, train_index: bool
    ) -> tuple[mx.array, mx.array, mx.array, mx.array]:
        c = self.c
        begun = time.perf_counter()
        if not isinstance(self.assign, Assigner):
            self._fill(centroids, train=train_index and not self.index.is_trained)
        D, I, means, totals = self._assign_and_average(x, weights, centroids)
        self.searched += time.perf_counter() - begun
        objective, imbalance = mx.sum(D), _imbalance(I, c.k, self.stream)
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
            return D, I, *cluster_means(x, I, weights, self.c.k, self.stream)
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
        exact = type(self.index) in (IndexFlat, IndexFlatL2, IndexFlatIP)
        known = self.index.metric_type in (METRIC_L2, METRIC_INNER_PRODUCT)
        if not (exact and known) or self.codec is not None:
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


def _imbalance(ids: mx.array, k: int, stream: Stream) -> mx.array:
    counts = mx.zeros((k,), dtype=mx.int32, stream=stream).at[ids].add(1)
    return mx.sum(mx.square(counts.astype(mx.float32))) * (k / float(ids.shape[0]) ** 2)


def _stats(entry: tuple[mx.array, mx.array, mx.array, float, float]) -> ClusteringIterationStats:
    obj, imbalance, nsplit = (a.item() for a in _host.to_numpy(*entry[:3]))
    return ClusteringIterationStats(obj, entry[3], entry[4], imbalance, nsplit)


class Kmeans:
    """K-means, and the centroids that it finds.

    Args:
        d: the dimension of the vectors.
        k: how many clusters.
        gpu: whether to train on MLX's GPU; FAISS's number of GPUs counts as True.
        kwargs: fields of ``ClusteringParameters``: niter, nredo, verbose, spherical, seed, ...

    Raises:
        AttributeError: there is no such parameter.

    Attributes:
        cp: the parameters.
        centroids: shape (k, d), float32; None before training.
        obj: the objective of each iteration, float64.
        iteration_stats: of each iteration, a dictionary.
        index: holds the centroids.
    """

    def __init__(self, d: int, k: int, *, gpu: bool | int = False, **kwargs: Any) -> None:
        self.d = _host.integer("Kmeans", "d", d, 1)
        self.gpu = gpu
        self.cp = ClusteringParameters()
        for name, value in kwargs.items():
            if name not in _PARAMETERS:
                raise AttributeError(f"[Kmeans] {name!r} must be a field of ClusteringParameters. Received {value!r}.")
            setattr(self.cp, name, value)
        self.reset(k)
        self.set_index()

    def set_index(self) -> None:
        """Makes the index that will hold the centroids."""
        self.index: Index = IndexFlatIP(self.d) if self.cp.spherical else IndexFlatL2(self.d)

    def reset(self, k: int | None = None) -> None:
        """Forgets the centroids; another k may follow."""
        if k is not None:
            self.k = _host.integer("Kmeans", "k", k, 1)
        self.centroids: NDArray[np.float32] | None = None
        self.obj: NDArray[np.float64] | None = None
        self.iteration_stats: list[dict[str, float]] | None = None

    def train(
        self,
        x: Array,
        weights: ArrayLike | None = None,
        init_centroids: ArrayLike | None = None,
        *,
        stream: Stream = None,
    ) -> float:
        """Finds the centroids.

        Args:
            x: shape (n, d), n at least k; used as float32.
            weights: of the vectors, shape (n,).
            init_centroids: at most k centroids to begin with, shape (m, d); the others are random points.
            stream: where to run; by default MLX's default device, or its GPU where ``gpu`` says so.

        Returns:
            The last objective.

        Raises:
            TypeError, ValueError, RuntimeError: as ``Clustering.train`` does.
        """
        clustering = Clustering(self.d, self.k, self.cp)
        if init_centroids is not None:
            first = _host.to_numpy(_host.to_mlx("Kmeans.train", "init_centroids", init_centroids))[0]
            if first.ndim != 2 or first.shape[1] != self.d:
                raise ValueError(
                    f"[Kmeans.train] init_centroids must have shape (m, {self.d}). Received {first.shape}."
                )
            clustering.centroids = Float32Vector(first.reshape(-1))
        if not isinstance(x, mx.array):
            x = np.asarray(x)
        clustering.train(x, self.index, weights, stream=mx.Device(mx.gpu) if stream is None and self.gpu else stream)
        self.centroids = np.asarray(clustering.centroids).reshape(self.k, self.d)
        self.obj = np.array([s.obj for s in clustering.iteration_stats])
        self.iteration_stats = [vars(s) for s in clustering.iteration_stats]
        return float(self.obj[-1]) if self.obj.size else 0.0

    def assign(self, x: Array, *, stream: Stream = None) -> tuple[Any, Any]:
        """The nearest centroid of each vector.

        Args:
            x: shape (n, d).
            stream: where to run.

        Returns:
            What the index says of each, shape (n,), and ids, shape (n,), as NumPy or lazy ``mx.array`` as ``x`` is.

        Raises:
            RuntimeError: there are no centroids yet.
        """
        if self.centroids is None:
            raise RuntimeError("[Kmeans.assign] The object must be trained. Received one without centroids.")
        D, I = self.index.search(x, 1, stream=stream)
        return D[:, 0], I[:, 0]


def kmeans_clustering(d: int, n: int, k: int, x: Array, centroids: NDArray[np.float32]) -> float:
    """One run of k-means with default parameters.

    Args:
        d: the dimension of the vectors.
        n: how many.
        k: how many clusters.
        x: n * d values.
        centroids: k * d values, float32: where the centroids are written to.

    Returns:
        The last objective.
    """
    clustering = Clustering(d, k)
    clustering.train(x.reshape(n, d), IndexFlatL2(d))
    centroids.reshape(-1)[:] = np.asarray(clustering.centroids)
    return clustering.iteration_stats[-1].obj
