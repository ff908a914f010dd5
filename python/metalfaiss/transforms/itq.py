"""Iterative quantisation: rotations after which signs say most.

Y. Gong, S. Lazebnik: Iterative quantization: a Procrustean approach to learning binary codes. CVPR 2011.
"""

from __future__ import annotations

from typing import ClassVar

import mlx.core as mx
import numpy as np

from metalfaiss import _host
from metalfaiss.faissmlx.kernels.gemm_kernels import gemm_at_b, gemm_av
from metalfaiss.faissmlx.svd import topk_svd
from metalfaiss.transforms.base import VectorTransform, subset
from metalfaiss.transforms.linear import LinearTransform, random_rotation
from metalfaiss.transforms.pca import PCAMatrix
from metalfaiss.transforms.simple import unit_length
from metalfaiss.vectors import Float32Vector, Float64Vector, Vector

__all__ = ["ITQMatrix", "ITQTransform", "nearest_rotation"]

LEAST_TRAINING_POINTS = 32768


def nearest_rotation(x: mx.array, y: mx.array) -> mx.array:
    """The orthonormal matrix R, (d, e), with x R nearest to y, for x (n, d) and y (n, e)."""
    cross = gemm_at_b(x, y)
    U, _, Vt = topk_svd(cross, min(cross.shape))
    return gemm_av(U, Vt)


class ITQMatrix(LinearTransform):
    """The rotation that brings vectors nearest to their signs.

    Args:
        d: the dimension.

    Attributes:
        max_iter: iterations.
        seed: of the rotation to begin with.
        init_rotation: that rotation itself, d * d values, where there are any.
    """

    _arrays: ClassVar[dict[str, type[Vector]]] = {"init_rotation": Float64Vector}
    init_rotation: Float64Vector

    def __init__(self, d: int = 1) -> None:
        super().__init__(d, d, False)
        self.max_iter = 50
        self.seed = 123

    def _train(self, x: mx.array) -> None:
        d = self.d_in
        if self.init_rotation.size() == d * d:
            start = np.asarray(self.init_rotation).reshape(d, d)
        else:
            start = random_rotation(d, d, self.seed)
        rotation = mx.array(start.T.astype(np.float32))
        for _ in range(self.max_iter):
            signs = mx.where(gemm_av(x, rotation) < 0, -1.0, 1.0)
            rotation = nearest_rotation(x, signs)
            mx.eval(rotation)
        self.A = Float32Vector(_host.to_numpy(mx.transpose(rotation))[0].reshape(-1))
        self.is_trained = True
        self.is_orthonormal = True


class ITQTransform(VectorTransform):
    """Centring, unit length, principal components, and the rotation of ``ITQMatrix``.

    Args:
        d_in: the dimension of what goes in.
        d_out: the dimension of what comes out.
        do_pca: whether there are principal components; without, the dimensions must be the same.

    Raises:
        RuntimeError: the dimensions differ without principal components.

    Attributes:
        mean: of the training vectors.
        itq: the rotation.
        pca_then_itq: what is applied after centring and normalisation.
        max_train_per_dim: training takes at most this many vectors for each dimension, but 32768 in any case.
    """

    _arrays: ClassVar[dict[str, type[Vector]]] = {"mean": Float32Vector}
    _state: ClassVar[tuple[str, ...]] = ("do_pca",)
    mean: Float32Vector

    def __init__(self, d_in: int = 1, d_out: int = 1, do_pca: bool = False) -> None:
        super().__init__(d_in, d_out)
        if not do_pca and d_in != d_out:
            raise RuntimeError(
                f"[ITQTransform] d_in and d_out must be the same without do_pca. Received {d_in} and {d_out}."
            )
        self.do_pca = bool(do_pca)
        self.itq = ITQMatrix(d_out)
        self.pca_then_itq = LinearTransform(d_in, d_out, False)
        self.max_train_per_dim = 10
        self.is_trained = False

    def _train(self, x: mx.array) -> None:
        x = subset(x, max(self.d_in * self.max_train_per_dim, LEAST_TRAINING_POINTS))
        mean = mx.mean(x, axis=0)
        self.mean = Float32Vector(_host.to_numpy(mean)[0])
        points = unit_length(x - mean)
        if self.do_pca:
            pca = PCAMatrix(self.d_in, self.d_out)
            pca.have_bias = False
            pca.train(points)
            self.itq.train(pca.apply(points))
            rotation = np.asarray(self.itq.A).reshape(self.d_out, self.d_out)
            A = rotation @ np.asarray(pca.A).reshape(self.d_out, self.d_in)
        else:
            self.itq.train(points)
            A = np.asarray(self.itq.A)
        self.pca_then_itq.A = Float32Vector(A.reshape(-1))
        self.pca_then_itq.is_trained = True
        self.is_trained = True

    def _apply(self, x: mx.array) -> mx.array:
        return self.pca_then_itq._apply(unit_length(x - self._array("mean", self.d_in)))

    def check_identical(self, other: VectorTransform) -> None:
        super().check_identical(other)
        assert isinstance(other, ITQTransform)
        self.pca_then_itq.check_identical(other.pca_then_itq)
