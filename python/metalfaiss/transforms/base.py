"""The base class of the transforms: FAISS's interface, its checks, and the edge between NumPy and MLX."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, overload

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Array
from metalfaiss.ownership import Owned
from metalfaiss.random import permutation
from metalfaiss.vectors import Vector

__all__ = ["VectorTransform", "subset"]

SUBSET_SEED = 1234  # FAISS's


class VectorTransform(Owned, ABC):
    """A map from vectors of ``d_in`` dimensions to vectors of ``d_out``.

    Args:
        d_in: the dimension of what goes in.
        d_out: the dimension of what comes out.

    Attributes:
        is_trained: whether vectors may be transformed.
    """

    _arrays: ClassVar[dict[str, type[Vector]]] = {}  # attributes that are vectors, as FAISS's
    _state: ClassVar[tuple[str, ...]] = ()  # what decides, beside the vectors, what comes out

    def __init__(self, d_in: int, d_out: int) -> None:
        self.d_in = _host.integer(type(self).__name__, "d_in", d_in, 1)
        self.d_out = _host.integer(type(self).__name__, "d_out", d_out, 1)
        self.is_trained = True
        self._on_mlx: dict[str, tuple[Any, mx.array]] = {}
        for name, kind in self._all_arrays().items():
            setattr(self, name, kind())

    def train(self, x: Array) -> None:
        """Learns from vectors what the transform needs; one that needs nothing checks ``x``.

        Args:
            x: shape (n, ``d_in``).

        Raises:
            TypeError: ``x`` is neither a NumPy array nor an ``mx.array``, or is complex.
            ValueError: its shape is not (n, ``d_in``).
        """
        self._train(_host.vectors(self._op("train"), x, self.d_in).astype(mx.float32))

    @overload
    def apply(self, x: mx.array) -> mx.array: ...
    @overload
    def apply(self, x: NDArray[Any]) -> NDArray[np.float32]: ...
    def apply(self, x: Array) -> Any:
        """The transformed vectors.

        Args:
            x: shape (n, ``d_in``).

        Returns:
            Shape (n, ``d_out``), float32: NumPy for NumPy, lazy and differentiable for ``mx.array``.

        Raises:
            TypeError, ValueError: as ``train`` does.
            RuntimeError: the transform is not trained.
        """
        return self._through(self._op("apply"), x, self.d_in, self._apply)

    def apply_noalloc(self, n: int, x: Array, xt: NDArray[np.float32]) -> None:
        """``apply`` of n vectors, written to ``xt``, n * ``d_out`` elements; FAISS's C++ form."""
        found = np.asarray(self.apply(x.reshape(-1)[: n * self.d_in].reshape(n, -1)))
        xt.reshape(-1)[: found.size] = found.ravel()

    def train_c(self, n: int, x: Array) -> None:
        """``train`` on n vectors; FAISS's C++ form."""
        self.train(x.reshape(-1)[: n * self.d_in].reshape(n, -1))

    def reverse_transform_c(self, n: int, xt: Array, x: NDArray[np.float32]) -> None:
        """``reverse_transform`` of n vectors, written to ``x``, n * ``d_in`` elements; FAISS's C++ form."""
        found = np.asarray(self.reverse_transform(xt.reshape(-1)[: n * self.d_out].reshape(n, -1)))
        x.reshape(-1)[: found.size] = found.ravel()

    def apply_py(self, x: Array) -> Any:
        """``apply``, under the name that FAISS's Python layer has for it."""
        return self.apply(x)

    @overload
    def reverse_transform(self, x: mx.array) -> mx.array: ...
    @overload
    def reverse_transform(self, x: NDArray[Any]) -> NDArray[np.float32]: ...
    def reverse_transform(self, x: Array) -> Any:
        """The way back, exact or not.

        Args:
            x: shape (n, ``d_out``).

        Returns:
            Shape (n, ``d_in``), float32, in the form of ``apply``.

        Raises:
            TypeError, ValueError: as ``train`` does.
            RuntimeError: the transform is not trained, or has no way back.
        """
        return self._through(self._op("reverse_transform"), x, self.d_out, self._reverse)

    def check_identical(self, other: VectorTransform) -> None:
        """Checks that another transform does the same.

        Raises:
            RuntimeError: its type, dimensions or values differ.
        """
        op = self._op("check_identical")
        if type(other) is not type(self):
            raise RuntimeError(f"[{op}] other must be of {type(self).__name__}. Received {type(other).__name__}.")
        for name in ("d_in", "d_out", *self._state):
            if getattr(self, name) != getattr(other, name):
                raise RuntimeError(
                    f"[{op}] other must have {name} {getattr(self, name)}. Received {getattr(other, name)}."
                )
        for name in self._all_arrays():
            if not np.array_equal(np.asarray(getattr(self, name)), np.asarray(getattr(other, name))):
                raise RuntimeError(f"[{op}] other must have the same values in {name}. Received different ones.")

    # ----------------------------------------------------------------------------------- what a subclass has

    def _train(self, x: mx.array) -> None:
        del x  # there is nothing to learn

    @abstractmethod
    def _apply(self, x: mx.array) -> mx.array: ...

    def _reverse(self, xt: mx.array) -> mx.array:
        raise RuntimeError(f"[{self._op('reverse_transform')}] The transform must have a way back. It has none.")

    # ------------------------------------------------------------------------------------------------ shared

    def _op(self, method: str) -> str:
        return f"{type(self).__name__}.{method}"

    @classmethod
    def _all_arrays(cls) -> dict[str, type[Vector]]:
        found: dict[str, type[Vector]] = {}
        for base in reversed(cls.__mro__):
            found |= vars(base).get("_arrays", {})
        return found

    def _through(self, op: str, x: Array, d: int, function: Any) -> Any:
        vectors = _host.vectors(op, x, d).astype(mx.float32)
        if not self.is_trained:
            raise RuntimeError(f"[{op}] The transform must be trained. Received one that is not.")
        made = function(vectors)
        return made if isinstance(x, mx.array) else _host.to_numpy(made)[0]

    def _array(self, name: str, *shape: int) -> mx.array:
        """A vector attribute as an array of MLX, copied when its values were replaced."""
        values = getattr(self, name).data()
        held = self._on_mlx.get(name)
        if held is None or held[0] is not values:
            held = values, mx.array(values)
            self._on_mlx[name] = held
        if held[1].size != int(np.prod(shape)):
            op = type(self).__name__
            raise RuntimeError(f"[{op}] {name} must hold {'x'.join(map(str, shape))} values. Received {values.size}.")
        return held[1].reshape(shape)

    def __setattr__(self, name: str, value: Any) -> None:
        kind = self._all_arrays().get(name)
        if kind is not None and not isinstance(value, Vector):
            value = kind(np.asarray(value).reshape(-1))
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_on_mlx": {}}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.d_in}, {self.d_out}, is_trained={self.is_trained})"


def subset(x: mx.array, most: int) -> mx.array:
    """At most ``most`` of the vectors, those that FAISS picks."""
    if x.shape[0] <= most:
        return x
    return mx.take(x, mx.array(permutation(x.shape[0], most, SUBSET_SEED)), axis=0)
