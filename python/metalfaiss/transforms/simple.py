"""Transforms without a matrix: dimensions moved, lengths made 1, the mean taken off."""

from __future__ import annotations

from typing import Any, ClassVar

import mlx.core as mx
import numpy as np

from metalfaiss import _host
from metalfaiss.errors import ArgumentError
from metalfaiss.transforms.base import VectorTransform
from metalfaiss.vectors import Float32Vector, Int32Vector, Vector

__all__ = ["CenteringTransform", "NormalizationTransform", "RemapDimensionsTransform", "unit_length"]


def unit_length(x: mx.array) -> mx.array:
    """Vectors of length 1; zeros stay zeros."""
    norms = mx.sqrt(mx.sum(mx.square(x), axis=1, keepdims=True))
    return x / mx.where(norms == 0, 1.0, norms)


class RemapDimensionsTransform(VectorTransform):
    """Dimensions moved, left out, or filled with zeros.

    Args:
        d_in: the dimension of what goes in.
        d_out: the dimension of what comes out.
        uniform: whether dimensions are spread over the output, or the first ones taken.

    ``RemapDimensionsTransform(d_in, d_out, map)`` gives for each dimension of the output that of the input, or -1.
    """

    _arrays: ClassVar[dict[str, type[Vector]]] = {"map": Int32Vector}
    map: Int32Vector

    def __init__(self, d_in: int = 1, d_out: int = 1, uniform: Any = True) -> None:
        super().__init__(d_in, d_out)
        if isinstance(uniform, bool | int | np.bool_):
            chosen = np.full(d_out, -1)
            both = np.arange(min(d_in, d_out))
            if not uniform:
                chosen[both] = both
            elif d_in < d_out:
                chosen[both * d_out // d_in] = both
            else:
                chosen[both] = both * d_in // d_out
        else:
            chosen = np.asarray(uniform)
            if chosen.shape != (d_out,) or (chosen < -1).any() or (chosen >= d_in).any():
                raise ArgumentError(
                    f"[RemapDimensionsTransform] map must hold {d_out} values from -1 to {d_in - 1}. Received "
                    f"{chosen!r}."
                )
        self.map = Int32Vector(chosen)

    def _apply(self, x: mx.array) -> mx.array:
        at = self._array("map", self.d_out)
        return mx.where(at >= 0, mx.take(x, mx.maximum(at, 0), axis=1), 0.0)

    def _reverse(self, xt: mx.array) -> mx.array:
        at = np.asarray(self.map)
        source = np.full(self.d_in, -1)
        source[at[at >= 0]] = np.flatnonzero(at >= 0)
        back = mx.array(source)
        return mx.where(back >= 0, mx.take(xt, mx.maximum(back, 0), axis=1), 0.0)


class NormalizationTransform(VectorTransform):
    """Every vector brought to length 1; zeros stay zeros.

    Args:
        d: the dimension.
        norm: which: 2.

    Raises:
        NotImplementedError: ``norm`` is not 2.
    """

    _state: ClassVar[tuple[str, ...]] = ("norm",)

    def __init__(self, d: int = 1, norm: float = 2.0) -> None:
        super().__init__(d, d)
        if norm != 2:
            raise NotImplementedError(f"[NormalizationTransform] norm must be 2. Received {norm!r}.")
        self.norm = float(norm)

    def _apply(self, x: mx.array) -> mx.array:
        return unit_length(x)

    def _reverse(self, xt: mx.array) -> mx.array:
        return xt


class CenteringTransform(VectorTransform):
    """The mean of the training vectors taken off.

    Args:
        d: the dimension.

    Attributes:
        mean: d values.
    """

    _arrays: ClassVar[dict[str, type[Vector]]] = {"mean": Float32Vector}
    mean: Float32Vector

    def __init__(self, d: int = 1) -> None:
        super().__init__(d, d)
        self.is_trained = False

    def _train(self, x: mx.array) -> None:
        if x.shape[0] == 0:
            raise RuntimeError("[CenteringTransform.train] x must have at least 1 row. Received 0.")
        self.mean = Float32Vector(_host.to_numpy(mx.mean(x, axis=0))[0])
        self.is_trained = True

    def _apply(self, x: mx.array) -> mx.array:
        return x - self._array("mean", self.d_in)

    def _reverse(self, xt: mx.array) -> mx.array:
        return xt + self._array("mean", self.d_in)
