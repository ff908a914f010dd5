"""Principal components."""

from __future__ import annotations

from typing import ClassVar

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss.faissmlx.kernels.gemm_kernels import gemm_at_b
from metalfaiss.faissmlx.svd import topk_svd
from metalfaiss.transforms.base import subset
from metalfaiss.transforms.linear import LinearTransform, random_rotation
from metalfaiss.vectors import Float32Vector, Vector

__all__ = ["PCAMatrix"]

ROTATION_SEED = 5  # FAISS's


class PCAMatrix(LinearTransform):
    """The leading principal components, largest first, by the project's own SVD of the covariance.

    Args:
        d_in: the dimension of what goes in.
        d_out: how many components are kept.
        eigen_power: components are multiplied by this power of their eigenvalue; -0.5 whitens.
        random_rotation: whether a random rotation follows.

    Attributes:
        epsilon: added to the eigenvalues before their power is taken.
        max_points_per_d: training takes at most this many vectors for each dimension.
        balanced_bins: if not 0, components are dealt out to as many bins, so that each gets its share of variance.
        mean: of the training vectors.
        eigenvalues: of n times the covariance, all of them, largest first.
        PCAMat: the eigenvectors, one after the other.
    """

    _arrays: ClassVar[dict[str, type[Vector]]] = dict.fromkeys(("mean", "eigenvalues", "PCAMat"), Float32Vector)
    mean: Float32Vector
    eigenvalues: Float32Vector
    PCAMat: Float32Vector

    def __init__(self, d_in: int = 1, d_out: int = 1, eigen_power: float = 0.0, random_rotation: bool = False) -> None:
        super().__init__(d_in, d_out, True)
        self.eigen_power = float(eigen_power)
        self.random_rotation = bool(random_rotation)
        self.epsilon = 0.0
        self.max_points_per_d = 1000
        self.balanced_bins = 0

    def _train(self, x: mx.array) -> None:
        op = self._op("train")
        x = subset(x, self.max_points_per_d * self.d_in)
        n = x.shape[0]
        if min(n, self.d_in) < self.d_out:
            raise RuntimeError(
                f"[{op}] x must have at least d_out = {self.d_out} rows and columns. Received {tuple(x.shape)}."
            )
        mean = mx.mean(x, axis=0) if self.have_bias else mx.zeros((self.d_in,))
        centred = x - mean
        if n >= self.d_in:
            factored = gemm_at_b(centred, centred)
            _, values, vectors = topk_svd(factored, self.d_in)
        else:
            factored = centred
            _, singular, vectors = topk_svd(factored, n)
            values = mx.concatenate([mx.square(singular), mx.zeros((self.d_in - n,))])
        if not _host.to_numpy(mx.all(mx.isfinite(factored)))[0]:
            raise RuntimeError(
                f"[{op}] x must have a finite covariance. Received NaNs, infinities or too large values."
            )
        self.mean, self.eigenvalues, self.PCAMat = (
            Float32Vector(a.reshape(-1)) for a in _host.to_numpy(mean, values, vectors)
        )
        self.prepare_Ab()
        self.is_trained = True

    def copy_from(self, other: PCAMatrix) -> None:
        """Takes the components of another one, which must be trained, and keeps its own settings."""
        if not other.is_trained:
            raise RuntimeError(f"[{self._op('copy_from')}] other must be trained. Received one that is not.")
        self.mean, self.eigenvalues, self.PCAMat = (
            Float32Vector(np.asarray(v)) for v in (other.mean, other.eigenvalues, other.PCAMat)
        )
        self.prepare_Ab()
        self.is_trained = True

    def prepare_Ab(self) -> None:
        """Makes A and b from the components and the settings."""
        op = self._op("prepare_Ab")
        if self.PCAMat.size() < self.d_out * self.d_in:
            raise RuntimeError(
                f"[{op}] PCAMat must hold at least {self.d_out * self.d_in} values. Received {self.PCAMat.size()}."
            )
        components = np.asarray(self.PCAMat).reshape(-1, self.d_in)[: self.d_out]
        values = np.asarray(self.eigenvalues)[: self.d_out]
        factors = np.ones(self.d_out, dtype=np.float32)
        if self.eigen_power != 0:
            epsilon = 0.0 if self.random_rotation else self.epsilon
            factors = (values + np.float32(epsilon)) ** np.float32(self.eigen_power)
        if self.random_rotation:
            if self.balanced_bins:
                raise RuntimeError(
                    f"[{op}] balanced_bins must be 0 with a random rotation. Received {self.balanced_bins}."
                )
            A = (random_rotation(self.d_out, self.d_out, ROTATION_SEED) * factors) @ components
        else:
            A = components * factors[:, None]
            if self.balanced_bins:
                A = A[self._dealt(op, values)]
        self.A = Float32Vector(A.reshape(-1))
        self.b = Float32Vector(-(A.astype(np.float64) @ np.asarray(self.mean)))
        self.is_orthonormal = self.eigen_power == 0

    def _dealt(self, op: str, values: NDArray[np.float32]) -> NDArray[np.int64]:
        """For each row of A the component: each in turn goes to the bin with the least so far that has room."""
        bins = self.balanced_bins
        if self.d_out % bins:
            raise RuntimeError(f"[{op}] d_out must be a multiple of balanced_bins. Received {self.d_out} and {bins}.")
        room = self.d_out // bins
        total, count = np.zeros(bins, dtype=np.float32), np.zeros(bins, dtype=np.int64)
        order = np.zeros(self.d_out, dtype=np.int64)
        for i, value in enumerate(values):
            best = int(np.argmin(np.where(count < room, total, np.inf)))
            order[best * room + count[best]] = i
            total[best] += value
            count[best] += 1
        return order
