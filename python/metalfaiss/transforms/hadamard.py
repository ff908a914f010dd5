"""A random rotation in n log n: three rounds of random signs and a Walsh-Hadamard transform."""

from __future__ import annotations

from typing import ClassVar

import mlx.core as mx
import numpy as np

from metalfaiss.random import splitmix64
from metalfaiss.transforms.base import VectorTransform
from metalfaiss.vectors import Float32Vector, Vector

__all__ = ["HadamardRotation"]

DEFAULT_SEED = 12345


class HadamardRotation(VectorTransform):
    """A rotation made of signs and Hadamard transforms; zeros fill the dimension up to a power of two.

    Args:
        d: the dimension of what goes in; ``d_out`` is the next power of two.
        seed: of the signs, which are FAISS's.

    Attributes:
        signs1, signs2, signs3: 1 or -1, ``d_out`` each.
    """

    _arrays: ClassVar[dict[str, type[Vector]]] = dict.fromkeys(("signs1", "signs2", "signs3"), Float32Vector)
    _state: ClassVar[tuple[str, ...]] = ("seed",)

    def __init__(self, d: int = 1, seed: int = DEFAULT_SEED) -> None:
        super().__init__(d, 1 << (d - 1).bit_length())
        self.init(seed)

    def init(self, seed: int) -> None:
        """Makes the signs of a seed."""
        self.seed = seed
        drawn = (splitmix64(seed, 3 * self.d_out) & np.uint64(0x7FFFFFFF)) % np.uint64(2)
        signs = np.where(drawn == 0, -1.0, 1.0).reshape(3, -1)
        self.signs1, self.signs2, self.signs3 = (Float32Vector(s) for s in signs)
        self.is_trained = True

    def _train(self, x: mx.array) -> None:
        self.init(self.seed or DEFAULT_SEED)

    def _apply(self, x: mx.array) -> mx.array:
        if x.shape[0] == 0:  # MLX's transform refuses it
            return mx.zeros((0, self.d_out))
        x = mx.pad(x, [(0, 0), (0, self.d_out - self.d_in)])
        for name in ("signs1", "signs2", "signs3"):
            x = mx.hadamard_transform(x * self._array(name, self.d_out))
        return x

    def _reverse(self, xt: mx.array) -> mx.array:
        if xt.shape[0] == 0:
            return mx.zeros((0, self.d_in))
        for name in ("signs3", "signs2", "signs1"):
            xt = mx.hadamard_transform(xt) * self._array(name, self.d_out)
        return xt[:, : self.d_in]
