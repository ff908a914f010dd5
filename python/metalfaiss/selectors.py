"""Which ids take part in a search, or are removed: FAISS's ``IDSelector`` classes.

Each owns a native selector that a scan asks without Python. Predicates written in Python are asked once about every id
of the index, before the scan.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core, _host
from metalfaiss.errors import ArgumentError
from metalfaiss.ownership import Owned

__all__ = [
    "IDSelector",
    "IDSelectorAll",
    "IDSelectorAnd",
    "IDSelectorArray",
    "IDSelectorBatch",
    "IDSelectorBitmap",
    "IDSelectorNot",
    "IDSelectorOr",
    "IDSelectorRange",
    "IDSelectorTranslated",
    "IDSelectorXOr",
    "PyCallbackIDSelector",
    "Selectable",
    "as_selector",
]

Ids: TypeAlias = NDArray[np.int64]
Predicate: TypeAlias = Callable[[int], bool]


class IDSelector(Owned):
    """Base class. A selector is immutable, may be used by any number of threads, and knows no index."""

    def __init__(self, native: _core.IdSelector | None) -> None:
        self._own = native

    @property
    def _native(self) -> _core.IdSelector:
        """What a native scan asks; predicates must be bound to ids first."""
        if self._own is None:
            raise TypeError(f"[{type(self).__name__}] A Python predicate must be bound to ids first. Received none.")
        return self._own

    def is_member(self, id: int) -> bool:
        """Whether the id is selected."""
        return self._native.member(_host.require_int(f"{type(self).__name__}.is_member", "id", id))

    def _members(self, ids: Ids) -> NDArray[np.bool_]:
        """Which of the ids, shape (n,), are selected."""
        return self._bound(ids)._native.members(ids).view(np.bool_)

    def _bound(self, ids: Ids | Callable[[], Ids]) -> IDSelector:
        """The selector itself, or what its Python predicates say about the ids, or about what ``ids()`` returns."""
        return self


class IDSelectorAll(IDSelector):
    """Every id."""

    def __init__(self) -> None:
        super().__init__(_core.select_all())


class IDSelectorRange(IDSelector):
    """Ids from ``imin`` to ``imax - 1``.

    Args:
        imin, imax: the range.
        assume_sorted: kept for FAISS's signature: an inverted list whose ids are sorted is searched no differently.
    """

    def __init__(self, imin: int, imax: int, assume_sorted: bool = False) -> None:
        op = "IDSelectorRange"
        self.imin, self.imax = _host.require_int(op, "imin", imin), _host.require_int(op, "imax", imax)
        self.assume_sorted = assume_sorted
        super().__init__(_core.select_range(self.imin, self.imax))


class IDSelectorBatch(IDSelector):
    """The ids of an array, as a table of bits where they lie close together and hashed where they do not.

    Args:
        indices: ids, shape (n,), in any order. FAISS's form ``(n, indices)`` is taken, too.

    Raises:
        TypeError: they are not integers.
        ValueError: they do not have one dimension.
    """

    def __init__(self, *indices: Any) -> None:
        ids = _array(type(self).__name__, indices, np.int64)
        self.n, self.ids = ids.size, ids
        super().__init__(_core.select_ids(ids))


class IDSelectorArray(IDSelectorBatch):
    """The ids of an array; in FAISS the form for a few of them, here the same as ``IDSelectorBatch``."""


class IDSelectorBitmap(IDSelector):
    """Ids whose bit is set: bit ``id % 8`` of byte ``id // 8``, as ``numpy.packbits(..., bitorder="little")`` writes.

    Args:
        bitmap: uint8, shape (n,). FAISS's form ``(n, bitmap)`` is taken, too.

    Raises:
        TypeError: it does not hold integers.
        ValueError: it does not have one dimension.
    """

    def __init__(self, *bitmap: Any) -> None:
        bytes_ = _array("IDSelectorBitmap", bitmap, np.uint8)
        self.n, self.bitmap = bytes_.size, bytes_
        super().__init__(_core.select_bitmap(bytes_))


class PyCallbackIDSelector(IDSelector):
    """Ids for which a Python function returns true; it is called once for each id of the index and search.

    Args:
        predicate: takes an int.
    """

    def __init__(self, predicate: Predicate) -> None:
        if not callable(predicate):
            raise TypeError(f"[PyCallbackIDSelector] predicate must be callable. Received {type(predicate).__name__}.")
        self.predicate = predicate
        super().__init__(None)

    def is_member(self, id: int) -> bool:
        return bool(self.predicate(id))

    def _bound(self, ids: Ids | Callable[[], Ids]) -> IDSelector:
        known = ids() if callable(ids) else ids
        return IDSelectorBatch(np.array([i for i in known.tolist() if self.predicate(i)], dtype=np.int64))


class _Combined(IDSelector):
    """A function of other selectors."""

    def __init__(self, make: Callable[..., _core.IdSelector], *parts: Any) -> None:
        self._make = make
        self._parts = tuple(as_selector(type(self).__name__, part) for part in parts)
        unbound = any(part._own is None for part in self._parts)
        super().__init__(None if unbound else make(*(part._native for part in self._parts)))

    def is_member(self, id: int) -> bool:
        return bool(self._members(np.array([id], dtype=np.int64))[0])

    def _bound(self, ids: Ids | Callable[[], Ids]) -> IDSelector:
        if self._own is not None:
            return self
        return _Combined(self._make, *(part._bound(ids) for part in self._parts))


class IDSelectorNot(_Combined):
    """Ids that a selector does not select."""

    def __init__(self, sel: Selectable) -> None:
        super().__init__(_core.select_not, sel)
        self.sel = self._parts[0]


class _Pair(_Combined):
    def __init__(self, make: Callable[..., _core.IdSelector], lhs: Selectable, rhs: Selectable) -> None:
        super().__init__(make, lhs, rhs)
        self.lhs, self.rhs = self._parts


class IDSelectorAnd(_Pair):
    """Ids that both selectors select."""

    def __init__(self, lhs: Selectable, rhs: Selectable) -> None:
        super().__init__(_core.select_and, lhs, rhs)


class IDSelectorOr(_Pair):
    """Ids that either selector selects."""

    def __init__(self, lhs: Selectable, rhs: Selectable) -> None:
        super().__init__(_core.select_or, lhs, rhs)


class IDSelectorXOr(_Pair):
    """Ids that exactly one of the selectors selects."""

    def __init__(self, lhs: Selectable, rhs: Selectable) -> None:
        super().__init__(_core.select_xor, lhs, rhs)


class IDSelectorTranslated(IDSelector):
    """Positions ``i`` for which a selector selects ``id_map[i]``.

    Args:
        id_map: ids, shape (n,), or an index that has an ``id_map``.
        sel: the selector of ids.
    """

    def __init__(self, id_map: Any, sel: Selectable) -> None:
        op = "IDSelectorTranslated"
        ids = _array(op, (getattr(id_map, "id_map", id_map),), np.int64)
        self.id_map, self.sel = ids, as_selector(op, sel)
        super().__init__(_core.select_translated(ids, self.sel._bound(ids)._native))


Selectable: TypeAlias = IDSelector | Predicate | NDArray[Any]


def as_selector(op: str, sel: Any) -> IDSelector:
    """A selector as it is, or one made of a callable, a boolean array over the ids 0, 1, ..., or an array of ids.

    Raises:
        TypeError: it is none of these.
    """
    if isinstance(sel, IDSelector):
        return sel
    if isinstance(sel, np.ndarray) and sel.dtype == np.bool_ and sel.ndim == 1:
        return IDSelectorBitmap(np.packbits(sel, bitorder="little"))
    if isinstance(sel, np.ndarray) and sel.dtype.kind in "iu":
        return IDSelectorBatch(sel)
    if callable(sel):
        return PyCallbackIDSelector(sel)
    raise TypeError(
        f"[{op}] sel must be an IDSelector, a callable, a boolean array (n,) or an array of ids (n,). "
        f"Received {type(sel).__name__}."
    )


def _array(op: str, given: tuple[Any, ...], dtype: type[np.generic]) -> NDArray[Any]:
    """A copy of FAISS's ``(array)`` or ``(n, array)``."""
    if len(given) not in (1, 2):
        raise TypeError(
            f"[{op}] One array must be given, or its length and the array. Received {len(given)} arguments."
        )
    array = np.asarray(given[-1])
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"[{op}] The array must hold integers. Received {array.dtype}.")
    if array.ndim != 1:
        raise ArgumentError(f"[{op}] The array must have shape (n,). Received {array.shape}.")
    if len(given) == 2:
        array = array[: _host.integer(op, "n", given[0], 0, array.size)]
    return np.array(array, dtype=dtype, order="C")
