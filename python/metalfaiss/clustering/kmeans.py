"""K-means that keeps its centroids: FAISS's ``Kmeans``."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Array, ArrayLike, Stream
from metalfaiss.clustering.clustering import Clustering
from metalfaiss.clustering.parameters import PARAMETERS, ClusteringParameters
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.flat import IndexFlatIP, IndexFlatL2
from metalfaiss.vectors import Float32Vector

__all__ = ["Kmeans"]


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
            if name not in PARAMETERS:
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
                raise ArgumentError(
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
            ValueError: there are no centroids yet.
        """
        if self.centroids is None:
            raise ArgumentError("[Kmeans.assign] The object must be trained. Received one without centroids.")
        D, I = self.index.search(x, 1, stream=stream)
        return D[:, 0], I[:, 0]
