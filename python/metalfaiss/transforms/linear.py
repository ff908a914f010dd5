"""Linear transforms: y = A x + b."""

from __future__ import annotations

from typing import ClassVar

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss.faissmlx.kernels.gemm_kernels import gemm_av
from metalfaiss.random import randn
from metalfaiss.transforms.base import VectorTransform
from metalfaiss.vectors import Float32Vector, Vector

__all__ = ["LinearTransform", "RandomRotationMatrix", "random_rotation"]

ORTHONORMAL = 4e-5  # what a product of two rows may be off, FAISS's


def random_rotation(d_in: int, d_out: int, seed: int) -> NDArray[np.float32]:
    """FAISS's random rotation, shape (d_out, d_in): orthonormal rows, or orthonormal columns where d_out > d_in.

    The values are FAISS's but for the rounding of the QR factorisation, which is float64 here.
    """
    rows = max(d_in, d_out)
    normal = randn(d_out * rows, seed).reshape(d_out, rows).astype(np.float64)
    Q = np.linalg.qr(normal.T)[0].T
    return np.ascontiguousarray(Q[:, :d_in], dtype=np.float32)


class LinearTransform(VectorTransform):
    """y = A x + b.

    Args:
        d_in: the dimension of x.
        d_out: the dimension of y.
        have_bias: whether there is a b.

    Attributes:
        A: the matrix, ``d_out * d_in`` values, a row of A after the other.
        b: ``d_out`` values, none without a bias.
        is_orthonormal: whether the rows of A are: the transform then has a way back.
        verbose: whether training prints what it does.
    """

    _arrays: ClassVar[dict[str, type[Vector]]] = {"A": Float32Vector, "b": Float32Vector}
    _state: ClassVar[tuple[str, ...]] = ("have_bias",)

    A: Float32Vector
    b: Float32Vector

    def __init__(self, d_in: int = 1, d_out: int = 1, have_bias: bool = False) -> None:
        super().__init__(d_in, d_out)
        self.have_bias = bool(have_bias)
        self.is_orthonormal = False
        self.verbose = False
        self.is_trained = False

    def _apply(self, x: mx.array) -> mx.array:
        y = gemm_av(x, mx.transpose(self._array("A", self.d_out, self.d_in)))
        return y + self._array("b", self.d_out) if self.have_bias else y

    def transform_transpose(self, y: mx.array | NDArray[np.float32]) -> mx.array | NDArray[np.float32]:
        """``(y - b) A``: the way back where the rows of A are orthonormal.

        Args:
            y: shape (n, ``d_out``).

        Returns:
            Shape (n, ``d_in``), float32, in the form of ``apply``.
        """
        made: mx.array | NDArray[np.float32] = self._through(
            self._op("transform_transpose"), y, self.d_out, self._transposed
        )
        return made

    def _transposed(self, y: mx.array) -> mx.array:
        y = y - self._array("b", self.d_out) if self.have_bias else y
        return gemm_av(y, self._array("A", self.d_out, self.d_in))

    def _reverse(self, xt: mx.array) -> mx.array:
        if not self.is_orthonormal:
            raise RuntimeError(
                f"[{self._op('reverse_transform')}] The rows of A must be orthonormal. Received a transform with "
                "is_orthonormal False."
            )
        return self._transposed(xt)

    def set_is_orthonormal(self) -> None:
        """Looks whether the rows of A are orthonormal, and sets ``is_orthonormal``."""
        if self.d_out > self.d_in:
            self.is_orthonormal = False
            return
        A = self._array("A", self.d_out, self.d_in)
        error = mx.max(mx.abs(gemm_av(A, mx.transpose(A)) - mx.eye(self.d_out)))
        self.is_orthonormal = bool(_host.to_numpy(error)[0] <= ORTHONORMAL)


class RandomRotationMatrix(LinearTransform):
    """A random rotation, or projection where ``d_out < d_in``.

    Args:
        d_in: the dimension of what goes in.
        d_out: the dimension of what comes out.
    """

    TRAIN_SEED: ClassVar[int] = 12345

    def __init__(self, d_in: int = 1, d_out: int = 1) -> None:
        super().__init__(d_in, d_out, False)

    def init(self, seed: int) -> None:
        """Makes the rotation of a seed, the same as FAISS's."""
        self.A = Float32Vector(random_rotation(self.d_in, self.d_out, seed).reshape(-1))
        self.is_orthonormal = True
        self.is_trained = True

    def _train(self, x: mx.array) -> None:
        self.init(self.TRAIN_SEED)
