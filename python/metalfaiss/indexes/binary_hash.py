"""Binary codes found by hashes, which are some of their bits."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, overload

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core, _host
from metalfaiss._host import Array, Stream
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes._code_store import Codes, Within
from metalfaiss.indexes.binary import IndexBinary
from metalfaiss.indexes.binary_flat import IndexBinaryFlat
from metalfaiss.search_parameters import SearchParameters

__all__ = ["HashedIndex", "IndexBinaryHash", "IndexBinaryMultiHash"]

MOST_BITS = 64


class HashedIndex(IndexBinary):
    """What ``IndexBinaryHash`` and ``IndexBinaryMultiHash`` share."""

    def __init__(self, d: int, nhash: int, b: int, keeps_codes: bool) -> None:
        super().__init__(d)
        name = type(self).__name__
        self._b = _host.integer(name, "b", b, 1, MOST_BITS)
        if nhash * b > d:
            raise ArgumentError(f"[{name}] d must be at least {nhash * b}, the bits of all hashes. Received {d}.")
        self._form = nhash, b, self.code_size, keeps_codes
        self._tables = _core.HashTables(*self._form)
        self._nflip = 0

    @property
    def nflip(self) -> int:
        """A search looks at the hashes that differ from the query's in up to so many bits; settable."""
        return self._nflip

    @nflip.setter
    def nflip(self, nflip: int) -> None:
        self._nflip = _host.integer(type(self).__name__, "nflip", nflip, 0)

    @property
    def b(self) -> int:
        """The bits of a hash."""
        return self._b

    def hashtable_size(self) -> int:
        """How many different hashes the stored codes have."""
        return self._tables.hashes()

    @abstractmethod
    def _codes(self) -> mx.array | None:
        """The codes of all ids, where the tables do not have them."""

    def _source(self, params: SearchParameters | None) -> tuple[Any, ...]:
        selector = None if params is None or params.sel is None else params.sel._native
        return self._tables, self._nflip, selector, self._codes()

    @overload
    def search(
        self, x: mx.array, k: int, *, params: SearchParameters | None = None, stream: Stream = None
    ) -> tuple[mx.array, mx.array]: ...
    @overload
    def search(
        self, x: Codes, k: int, *, params: SearchParameters | None = None, stream: Stream = None
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]: ...
    def search(
        self, x: Array, k: int, *, params: SearchParameters | None = None, stream: Stream = None
    ) -> tuple[Any, Any]:
        if isinstance(x, mx.array):
            return super().search(x, k, params=params, stream=stream)
        self._check_codes("search", "x", x)
        if type(k) is not int or k < 1 or stream is not None:
            k = _host.integer(self._op("search"), "k", k, 1)
            _host.require_cpu(self._op("search"), stream)
        source = self._source(self._parameters("search", params))
        return self._search_at_once(x, k, source)

    search.__doc__ = IndexBinary.search.__doc__

    def _search_at_once(self, x: Codes, k: int, source: tuple[Any, ...]) -> tuple[Any, Any]:
        return _core.search_hash_now(np.ascontiguousarray(x), k, *source)

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        return _core.search_hash(x, k, *self._source(params), stream=stream)

    def _range_search(self, x: mx.array, radius: float, params: SearchParameters | None, stream: Stream) -> Within:
        _host.require_cpu(self._op("range_search"), stream)
        return _core.range_search_hash(_host.to_numpy(x)[0], int(radius), *self._source(params))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_tables": self._written()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._tables = _core.HashTables(*self._form)
        self._read(*state["_tables"])

    @abstractmethod
    def _written(self) -> tuple[Any, ...]:
        """The tables as ``_read`` takes them."""

    @abstractmethod
    def _read(self, *written: Any) -> None: ...


class IndexBinaryHash(HashedIndex):
    """Codes by a hash, which is their first ``b`` bits. A search compares a query with the codes of its own hash, and
    with those whose hash differs in up to ``nflip`` bits.

    Args:
        d: the bits of a code, a multiple of 8.
        b: the bits of a hash, from 1 to 64.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: ``d`` is not a positive multiple of 8, or ``b`` not from 1 to the lower of ``d`` and 64.
    """

    def __init__(self, d: int, b: int) -> None:
        super().__init__(d, 1, b, True)

    @property
    def ntotal(self) -> int:
        return self._tables.ntotal

    def display(self) -> None:
        """Prints the ids of each hash."""
        for key, ids in self._tables.entries():
            print(f"{key}: [{' '.join(map(str, ids))}]")

    def _codes(self) -> None:
        return None

    def _add(self, x: mx.array) -> None:
        n = self.ntotal
        self._add_with_ids(x, np.arange(n, n + x.shape[0], dtype=np.int64))

    def _add_with_ids(self, x: mx.array, ids: NDArray[np.int64]) -> None:
        self._tables.add(ids, _host.view(mx.contiguous(x)))

    def _reset(self) -> None:
        self._tables.reset()

    def _ids(self) -> NDArray[np.int64]:
        return np.array([i for _, ids in self._tables.entries() for i in ids], dtype=np.int64)

    def _written(self) -> tuple[Any, ...]:
        return self.ntotal, *self._tables.write_lists()

    def _read(self, *written: Any) -> None:
        self._tables.read_lists(*written)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(d={self.d}, b={self.b}, nflip={self.nflip}, ntotal={self.ntotal})"


class IndexBinaryMultiHash(HashedIndex):
    """Codes by several hashes: ``nhash`` times ``b`` bits, one behind the other. A search compares a query with the
    codes that have one of its hashes, but for up to ``nflip`` bits.

    Args:
        d: the bits of a code, a multiple of 8.
        nhash: how many hashes a code has.
        b: the bits of each, from 1 to 64.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: ``d`` is not a multiple of 8 or less than ``nhash * b``, or a number less than 1.

    Attributes:
        storage: the codes, an ``IndexBinaryFlat``.
        own_fields: kept for programs written for FAISS; without effect.
    """

    def __init__(self, d: int, nhash: int, b: int) -> None:
        self._nhash = _host.integer(type(self).__name__, "nhash", nhash, 1)
        super().__init__(d, nhash, b, False)
        self.storage = IndexBinaryFlat(d)
        self.own_fields = True

    @property
    def ntotal(self) -> int:
        return self.storage.ntotal

    @property
    def nhash(self) -> int:
        """How many hashes a code has."""
        return self._nhash

    def _codes(self) -> mx.array:
        return self.storage._store.joined()

    def _add(self, x: mx.array) -> None:
        n = self.ntotal
        codes = _host.view(mx.contiguous(x))
        self.storage._add(x)  # first: a search at once finds no id without its code
        self._tables.add(np.arange(n, n + x.shape[0], dtype=np.int64), codes)

    def _reset(self) -> None:
        self._tables.reset()
        self.storage._reset()

    def _reconstruct_batch(self, ids: mx.array) -> mx.array:
        return self.storage._reconstruct_batch(ids)

    def _written(self) -> tuple[Any, ...]:
        return self.ntotal, self._tables.write_maps()

    def _read(self, *written: Any) -> None:
        self._tables.read_maps(*written)

    def __repr__(self) -> str:
        form = f"d={self.d}, nhash={self.nhash}, b={self.b}, nflip={self.nflip}"
        return f"{type(self).__name__}({form}, ntotal={self.ntotal})"
