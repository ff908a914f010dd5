"""K-means of more and more dimensions: FAISS's ``ProgressiveDimClustering``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Array
from metalfaiss.clustering.clustering import Clustering
from metalfaiss.clustering.parameters import ClusteringParameters, IterationStats
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes.flat import IndexFlatL2
from metalfaiss.transforms.pca import PCAMatrix
from metalfaiss.vectors import Float32Vector

__all__ = ["ProgressiveDimClustering", "ProgressiveDimClusteringParameters", "ProgressiveDimIndexFactory"]


@dataclass
class ProgressiveDimClusteringParameters(ClusteringParameters):
    """How it runs: ``ClusteringParameters``, with 10 iterations a step, and these.

    Attributes:
        progressive_dim_steps: how often k-means runs; dimensions grow by the same factor each time.
        apply_pca: whether dimensions are principal components.
    """

    niter: int = 10
    progressive_dim_steps: int = 10
    apply_pca: bool = True


class ProgressiveDimIndexFactory:
    """Makes the index that assigns, for each dimension; a function, or a subclass, may make others."""

    def __call__(self, dim: int) -> Any:
        return IndexFlatL2(dim)


class ProgressiveDimClustering(ProgressiveDimClusteringParameters):
    """K-means that begins with a few dimensions, and goes on with more from the centroids that it found.

    Args:
        d: the dimension of the vectors.
        k: how many clusters.
        cp: parameters.

    Raises:
        TypeError: ``d`` or ``k`` is not an integer.
        ValueError: it is less than 1.

    Attributes:
        centroids: k * d values, a ``Float32Vector``.
        iteration_stats: of every iteration of every step.
    """

    def __init__(self, d: int, k: int, cp: ProgressiveDimClusteringParameters | None = None) -> None:
        super().__init__(**({} if cp is None else vars(cp)))
        name = type(self).__name__
        self.d, self.k = _host.integer(name, "d", d, 1), _host.integer(name, "k", k, 1)
        self.centroids = Float32Vector()
        self.iteration_stats = IterationStats()

    def train(self, n: int, x: Array, factory: Callable[[int], Any]) -> None:
        """Finds k centroids, and leaves them in ``centroids``.

        Args:
            n: how many vectors, in FAISS's order of arguments.
            x: n * d values, float32.
            factory: gets a dimension and makes the index that assigns.

        Raises:
            TypeError, ValueError, RuntimeError: as ``Clustering.train`` does; ``x`` does not hold n * d values.
        """
        op = f"{type(self).__name__}.train"
        values = np.asarray(x, dtype=np.float32)
        if values.size != _host.integer(op, "n", n, 1) * self.d:
            raise ArgumentError(f"[{op}] x must hold {n} vectors of {self.d} values. Received shape {values.shape}.")
        vectors, pca = values.reshape(n, self.d), PCAMatrix(self.d, self.d)
        if self.apply_pca:
            pca.train(vectors)
            vectors = np.asarray(pca.apply(vectors))
        centroids = np.empty((0, 0), dtype=np.float32)
        for step in range(1, self.progressive_dim_steps + 1):
            d = int(self.d ** (step / self.progressive_dim_steps) * (1 + 1e-12))
            centroids = self._step(vectors[:, :d], centroids, factory)
        self.centroids = Float32Vector(np.asarray(pca.reverse_transform(centroids) if self.apply_pca else centroids))

    def _step(
        self, x: NDArray[np.float32], before: NDArray[np.float32], factory: Callable[[int], Any]
    ) -> NDArray[np.float32]:
        clustering = Clustering(x.shape[1], self.k, self)
        if before.size:
            padding = x.shape[1] - before.shape[1]
            clustering.centroids = Float32Vector(np.pad(before, ((0, 0), (0, padding))).reshape(-1))
        clustering.train(np.ascontiguousarray(x), factory(x.shape[1]))
        self.iteration_stats.extend(clustering.iteration_stats)
        return np.asarray(clustering.centroids).reshape(self.k, -1)
