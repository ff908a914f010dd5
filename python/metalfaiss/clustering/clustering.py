"""K-means for an index that assigns: FAISS's ``Clustering``."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core, _host
from metalfaiss._host import Array, ArrayLike, Stream
from metalfaiss._lloyd import on_cpu
from metalfaiss.clustering.parameters import PARAMETERS, ClusteringParameters, IterationStats
from metalfaiss.clustering.run import Run, assigns_exactly
from metalfaiss.errors import ArgumentError
from metalfaiss.faissmlx._operations import on
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.flat import IndexFlatL2
from metalfaiss.vectors import Float32Vector

__all__ = ["Clustering", "kmeans_clustering"]


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
        given = {} if cp is None else {name: getattr(cp, name) for name in PARAMETERS}
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
        read = _host.borrowed if on_cpu(stream) and assigns_exactly(index) else _host.vectors
        vectors = read("Clustering.train", x, self.d).astype(mx.float32)
        self._check(vectors.shape[0], index)
        if self.check_input_data_for_NaNs and not _all_finite(vectors, stream):
            raise RuntimeError("[Clustering.train] x must hold finite values. Received NaNs or infinities.")
        with on(stream):
            Run(self, index, None, stream).train(vectors, self._weights(weights, vectors.shape[0]))

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
            raise ArgumentError(f"[{op}] x must have shape (n, {size}). Received {tuple(codes.shape)}.")
        if codec.d != self.d:
            raise RuntimeError(f"[{op}] codec must have d {self.d}. Received {codec.d}.")
        self._check(codes.shape[0], index)
        with on(stream):
            Run(self, index, codec, stream).train(codes, self._weights(weights, codes.shape[0]))

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
            raise ArgumentError(f"[Clustering.train] weights must have shape ({n},). Received {tuple(w.shape)}.")
        return w


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


def _all_finite(x: mx.array, stream: Stream) -> bool:
    if on_cpu(stream):
        x = mx.contiguous(x, stream=stream)
        mx.eval(x)
        return _core.all_finite(x)
    return bool(mx.all(mx.isfinite(x, stream=stream), stream=stream).item())
