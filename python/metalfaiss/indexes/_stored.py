"""Vectors out of an index, and in and out of codes: the part of ``Index`` that reconstructs and encodes."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Array
from metalfaiss.distance_computers import DistanceComputer
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes import _checks
from metalfaiss.indexes._state import State
from metalfaiss.numeric import Float32

__all__ = ["Stored"]


class Stored(State):
    """The vectors that an index keeps, and the codes that it makes."""

    # ----------------------------------------------------------------------------- reconstructing

    def reconstruct(self, key: int, x: NDArray[np.float32] | None = None) -> Array:
        """The stored vector of an id, shape (d,), float32.

        Vectors that were added as NumPy arrays come out as NumPy; if any was added as ``mx.array``, all come out
        as lazy ``mx.array``.

        Args:
            key: an id.
            x: a float32 NumPy array of shape (d,) to write to, and to return.

        Raises:
            TypeError: ``key`` is not an integer, or ``x`` not a float32 NumPy array.
            ValueError: there is no such id, or ``x`` has another shape.
            RuntimeError: the type of index cannot reconstruct vectors.
        """
        op = self._op("reconstruct")
        key = _host.require_int(op, "key", key)
        self._check_keys(op, np.array([key], dtype=np.int64))
        _checks.reconstruction(op, x, (self.d,))
        return self._reconstruction(self._reconstruct(key), x)

    def reconstruct_n(self, n0: int = 0, ni: int = -1, x: NDArray[np.float32] | None = None) -> Array:
        """The stored vectors ``n0`` to ``n0 + ni - 1``, shape (ni, d), float32, in the form of ``reconstruct``.

        Args:
            n0: the first id.
            ni: how many; -1 stands for all from ``n0``.
            x: a float32 NumPy array of shape (ni, d) to write to, and to return.

        Raises:
            TypeError: ``n0`` or ``ni`` is not an integer, or ``x`` not a float32 NumPy array.
            ValueError: there are no such ids, or ``x`` has another shape.
            RuntimeError: the type of index cannot reconstruct vectors.
        """
        op = self._op("reconstruct_n")
        n0 = _host.integer(op, "n0", n0, 0, self.ntotal)
        ni = _host.integer(op, "ni", ni, -1, self.ntotal - n0)
        ni = self.ntotal - n0 if ni == -1 else ni
        _checks.reconstruction(op, x, (ni, self.d))
        return self._reconstruction(self._reconstruct_n(n0, ni), x)

    def reconstruct_batch(self, key: Any, x: NDArray[np.float32] | None = None) -> Array:
        """The stored vectors of several ids, shape (n, d), float32.

        Args:
            key: ids, shape (n,). NumPy arrays and sequences are checked, and the form of the result is that of
                ``reconstruct``. For an ``mx.array`` the result is a lazy ``mx.array`` with NaN where an id is not
                stored, as the -1 of a search.
            x: a float32 NumPy array of shape (n, d) to write to, and to return.

        Raises:
            TypeError: ``key`` does not hold integers, or ``x`` is not a float32 NumPy array.
            ValueError: an id does not exist, or a shape is wrong.
            RuntimeError: the type of index cannot reconstruct vectors.
        """
        op = self._op("reconstruct_batch")
        keys = _checks.keys(op, key)
        _checks.reconstruction(op, x, (keys.shape[0], self.d))
        if isinstance(keys, mx.array):
            vectors = self._reconstruct_batch(keys)
            return vectors if x is None else self._reconstruction(vectors, x)
        self._check_keys(op, keys)
        return self._reconstruction(self._reconstruct_batch(mx.array(keys)), x)

    def compute_residual(self, x: Array, residual: NDArray[np.float32] | None, key: int) -> Array:
        """``x`` minus the stored vector of an id.

        Args:
            x: shape (d,).
            residual: a float32 NumPy array of shape (d,) to write to, or None.
            key: the id.

        Returns:
            Shape (d,), float32, in the form of ``x``.

        Raises:
            TypeError, ValueError, RuntimeError: as ``reconstruct`` does, or ``x`` has another shape.
        """
        out = None if residual is None else residual.reshape(1, -1)
        return self.compute_residual_n(1, x.reshape(1, -1), out, np.array([key]))[0]

    def compute_residual_n(self, n: int, xs: Array, residuals: NDArray[np.float32] | None, keys: Any) -> Array:
        """Vectors minus the stored vectors of ids.

        Args:
            n: how many, in FAISS's order of arguments.
            xs: shape (n, d).
            residuals: a float32 NumPy array of shape (n, d) to write to, or None.
            keys: ids, shape (n,).

        Returns:
            Shape (n, d), float32, in the form of ``xs``.

        Raises:
            TypeError, ValueError, RuntimeError: as ``reconstruct_batch`` does, or ``xs`` has another shape.
        """
        op = self._op("compute_residual_n")
        n = _host.integer(op, "n", n, 0)
        vectors = _checks.vectors(op, xs, self.d, Float32)
        ids = _checks.keys(op, keys)
        if (vectors.shape[0], *ids.shape) != (n, n):
            raise ArgumentError(
                f"[{op}] xs and keys must hold {n} rows. Received {vectors.shape[0]} and {ids.shape[0]}."
            )
        _checks.output(op, "residuals", xs, residuals, (self.d,), np.float32)
        if not isinstance(ids, mx.array):
            self._check_keys(op, ids)
        found = vectors.astype(mx.float32) - self._reconstruct_batch(mx.array(ids))
        return found if isinstance(xs, mx.array) else _host.output(_host.to_numpy(found)[0], residuals)

    def get_distance_computer(self) -> DistanceComputer:
        """Distances of a query to single stored vectors, by id; they need what ``reconstruct`` needs."""
        return DistanceComputer(self.reconstruct, self.d, self.metric_type, self.metric_arg)

    # ----------------------------------------------------------------------------------- encoding

    def sa_code_size(self) -> int:
        """The bytes of an encoded vector.

        Raises:
            RuntimeError: the type of index encodes no vectors.
        """
        return self._sa_code_size()

    def sa_encode(self, x: Array, codes: NDArray[np.uint8] | None = None) -> Any:
        """Encodes vectors, without storing them.

        Args:
            x: shape (n, d).
            codes: a uint8 NumPy array (n, ``sa_code_size()``) to write to, and to return.

        Returns:
            uint8, shape (n, ``sa_code_size()``): NumPy for NumPy, ``mx.array`` for ``mx.array``.

        Raises:
            TypeError: ``x`` is neither a NumPy array nor an ``mx.array``, or is complex.
            ValueError: a shape is wrong.
            RuntimeError: the index is not trained, or its type encodes no vectors.
        """
        op = self._op("sa_encode")
        vectors = _checks.vectors(op, x, self.d, Float32).astype(mx.float32)
        self._require_trained(op)
        _checks.output(op, "codes", x, codes, (self.sa_code_size(),), np.uint8)
        return _checks.returned(x, self._sa_encode(vectors), codes)

    def sa_decode(self, codes: Array, x: NDArray[np.float32] | None = None) -> Any:
        """The vectors that codes stand for.

        Args:
            codes: uint8, shape (n, ``sa_code_size()``).
            x: a float32 NumPy array (n, d) to write to, and to return.

        Returns:
            float32, shape (n, d): NumPy for NumPy, ``mx.array`` for ``mx.array``.

        Raises:
            TypeError: ``codes`` is not an array of uint8.
            ValueError: a shape is wrong.
            RuntimeError: the index is not trained, or its type encodes no vectors.
        """
        op = self._op("sa_decode")
        given = _checks.codes(op, codes, self.sa_code_size())
        self._require_trained(op)
        _checks.output(op, "x", codes, x, (self.d,), np.float32)
        return _checks.returned(codes, self._sa_decode(given), x)

    def add_sa_codes(self, codes: Array, ids: Any = None) -> None:
        """Stores vectors by the codes of ``sa_encode``.

        Args:
            codes: uint8, shape (n, ``sa_code_size()``).
            ids: shape (n,), where the index keeps ids; or None for ``ntotal``, ``ntotal + 1``, ...

        Raises:
            TypeError, ValueError: a dtype or shape is wrong, or a code is impossible.
            RuntimeError: the index is not trained, its type takes no codes, or ``ids`` are given to one that numbers
                its vectors.
        """
        op = self._op("add_sa_codes")
        given = _host.to_numpy(_checks.codes(op, codes, self.sa_code_size()))[0]
        self._require_trained(op)
        keys = None if ids is None else _checks.stored_ids(op, ids, len(given))
        with self._lock:
            self._add_sa_codes(given, keys)

    def permute_entries(self, perm: Any) -> None:
        """Vector i becomes what vector ``perm[i]`` was.

        Args:
            perm: a permutation of 0 to ``ntotal - 1``, shape (ntotal,).

        Raises:
            ValueError: ``perm`` is none.
            RuntimeError: the type of index has no such order.
        """
        op = self._op("permute_entries")
        order = np.array(perm, dtype=np.int64, order="C")
        with self._lock:
            if order.shape != (self.ntotal,) or not np.array_equal(np.sort(order), np.arange(self.ntotal)):
                raise ArgumentError(
                    f"[{op}] perm must be a permutation of 0 to {self.ntotal - 1}. Received shape {order.shape}."
                )
            self._permute(order)
