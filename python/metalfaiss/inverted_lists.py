"""Inverted lists: the ids and codes of each cell of an IVF index."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core, _host
from metalfaiss._raw import read
from metalfaiss.errors import ArgumentError
from metalfaiss.ownership import Owned

__all__ = ["ArrayInvertedLists", "DirectMap", "InvertedLists"]


class InvertedLists(Owned):
    """``nlist`` lists of ids (int64) and codes (``code_size`` bytes each), in memory or borrowed from a mapped file.

    Lists may be read and searched by any number of threads while one changes them: a reader sees the lists as they were
    when it began. A copy (``copy.copy``, ``clone_index``) shares every list until one of the two changes it.

    Args:
        nlist: how many lists.
        code_size: bytes of a code.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: it is negative.
    """

    SUBSET_TYPE_ID_RANGE = 0
    SUBSET_TYPE_ID_MOD = 1
    SUBSET_TYPE_ELEMENT_RANGE = 2
    SUBSET_TYPE_INVLIST_FRACTION = 3
    SUBSET_TYPE_INVLIST = 4

    def __init__(self, nlist: int, code_size: int) -> None:
        op = type(self).__name__
        self._native = _core.InvertedLists(
            _host.integer(op, "nlist", nlist, 0), _host.integer(op, "code_size", code_size, 0)
        )

    @property
    def nlist(self) -> int:
        """How many lists."""
        return self._native.nlist

    @property
    def code_size(self) -> int:
        """Bytes of a code."""
        return self._native.code_size

    # ------------------------------------------------------------------------------------ reading

    def list_size(self, list_no: int) -> int:
        """How many entries a list has."""
        return self._native.list_size(self._list("list_size", list_no))

    def is_empty(self, list_no: int) -> bool:
        """Whether a list has none."""
        return self.list_size(list_no) == 0

    def get_ids(self, list_no: int) -> NDArray[np.int64]:
        """The ids of a list, shape (n,): a read-only view of the list as it is now."""
        return self._native.get_ids(self._list("get_ids", list_no))

    def get_codes(self, list_no: int) -> NDArray[np.uint8]:
        """The codes of a list, shape (n, code_size): a read-only view of the list as it is now."""
        return self._native.get_codes(self._list("get_codes", list_no))

    def get_single_id(self, list_no: int, offset: int) -> int:
        """One id of a list."""
        ids = self.get_ids(list_no)
        return int(ids[_host.integer(self._op("get_single_id"), "offset", offset, 0, ids.size - 1)])

    def get_single_code(self, list_no: int, offset: int) -> NDArray[np.uint8]:
        """One code of a list, shape (code_size,)."""
        codes: NDArray[np.uint8] = self.get_codes(list_no)
        last = len(codes) - 1
        code: NDArray[np.uint8] = codes[_host.integer(self._op("get_single_code"), "offset", offset, 0, last)]
        return code

    def sizes(self) -> NDArray[np.int64]:
        """The sizes of all lists, shape (nlist,)."""
        return self._native.sizes()

    def compute_ntotal(self) -> int:
        """How many entries all lists have."""
        return self._native.compute_ntotal()

    def imbalance_factor(self) -> float:
        """How much more a search of one list reads than with equal lists: 1 when they are equal."""
        sizes = self.sizes().astype(np.float64)
        total = sizes.sum()
        return float((sizes**2).sum() * self.nlist / total**2) if total else float("nan")

    def print_stats(self) -> None:
        """Prints how many lists have which size, by powers of two."""
        sizes = self.sizes()
        print(f"list size distribution, nlist = {self.nlist}, entries = {sizes.sum()}:")
        for power in range(64):
            low, high = (1 << power) >> 1, 1 << power
            count = int(((sizes >= low) & (sizes < high)).sum())
            if count:
                print(f"  [{low}, {high}): {count}")
            if high > sizes.max(initial=0):
                break

    # ----------------------------------------------------------------------------------- changing

    def add_entry(self, list_no: int, theid: int, code: Any) -> int:
        """Appends one entry, and returns its offset."""
        return self.add_entries(list_no, [theid], np.asarray(code, dtype=np.uint8).reshape(1, -1))

    def add_entries(self, list_no: int, *entries: Any) -> int:
        """Appends entries to a list.

        Args:
            list_no: the list.
            entries: ids, integers of shape (n,), and codes, uint8 of shape (n, code_size); or, as in FAISS, their
                number before them, and arrays of any shape that begin with them.

        Returns:
            The offset of the first of them.

        Raises:
            TypeError, ValueError: there is no such list, or a dtype or shape is wrong.
        """
        op = self._op("add_entries")
        offset = self.list_size(list_no)
        self._changed("add_entries").add_entries(list_no, *self._entries(op, entries))
        return offset

    def update_entry(self, list_no: int, offset: int, id: int, code: Any) -> None:
        """Replaces one entry."""
        self.update_entries(list_no, offset, [id], np.asarray(code, dtype=np.uint8).reshape(1, -1))

    def update_entries(self, list_no: int, offset: int, *entries: Any) -> None:
        """Replaces the entries of a list from ``offset`` by those of ``entries``: see ``add_entries``.

        Raises:
            TypeError, ValueError: there are no such entries, or a dtype or shape is wrong.
        """
        op = self._op("update_entries")
        ids, codes = self._entries(op, entries)
        offset = _host.integer(op, "offset", offset, 0, self.list_size(list_no) - len(ids))
        self._changed("update_entries").update_entries(list_no, offset, ids, codes)

    def resize(self, list_no: int, new_size: int) -> None:
        """Cuts a list, or extends it with entries of id -1 and codes of zeros."""
        op = "resize"
        self._changed(op).resize(self._list(op, list_no), _host.integer(self._op(op), "new_size", new_size, 0))

    def prefetch_lists(self, list_nos: Any, n: int | None = None) -> None:
        """Kept for programs written for FAISS: lists are read where they lie."""

    def release_codes(self, list_no: int, codes: Any) -> None:
        """Kept for programs written for FAISS: an array that was returned keeps its memory."""

    def release_ids(self, list_no: int, ids: Any) -> None:
        """Kept for programs written for FAISS: an array that was returned keeps its memory."""

    def reset(self) -> None:
        """Empties all lists."""
        self._changed("reset").reset()

    def merge_from(self, oivf: InvertedLists, add_id: int = 0) -> None:
        """Moves the entries of other lists behind those of these, with ``add_id`` added to their ids.

        Raises:
            ValueError: ``oivf`` has another form.
        """
        op = self._op("merge_from")
        self._require_same_form(op, oivf)
        self._changed("merge_from").merge_from(oivf._changed("merge_from"), _host.require_int(op, "add_id", add_id))

    def permute_invlists(self, map: Any) -> None:
        """List ``i`` becomes what list ``map[i]`` was.

        Raises:
            ValueError: ``map`` is not a permutation of the lists.
        """
        order = np.ascontiguousarray(map, dtype=np.int64)
        if order.shape != (self.nlist,) or not np.array_equal(np.sort(order), np.arange(self.nlist)):
            raise ArgumentError(
                f"[{self._op('permute_invlists')}] map must be a permutation of 0 to {self.nlist - 1}. "
                f"Received shape {order.shape}."
            )
        self._changed("permute_invlists").permute(order)

    def copy_subset_to(self, other: InvertedLists, subset_type: int, a1: int, a2: int) -> int:
        """Appends a subset of the entries to other lists.

        Args:
            other: lists of the same form.
            subset_type: ``SUBSET_TYPE_ID_RANGE`` (a1 <= id < a2), ``SUBSET_TYPE_ID_MOD`` (id % a1 == a2),
                ``SUBSET_TYPE_ELEMENT_RANGE`` (a share [a1, a2) of all entries, spread over the lists),
                ``SUBSET_TYPE_INVLIST_FRACTION`` (part a2 of a1 equal parts of every list) or
                ``SUBSET_TYPE_INVLIST`` (lists a1 to a2 - 1).

        Returns:
            How many entries.

        Raises:
            ValueError: ``other`` has another form, or there is no such type.
        """
        op = self._op("copy_subset_to")
        self._require_same_form(op, other)
        sizes = self.sizes()
        total, before, copied = int(sizes.sum()), 0, 0
        for list_no in np.flatnonzero(sizes).tolist():
            ids, size = self.get_ids(list_no), int(sizes[list_no])
            if subset_type == self.SUBSET_TYPE_ID_RANGE:
                chosen = np.flatnonzero((ids >= a1) & (ids < a2))
            elif subset_type == self.SUBSET_TYPE_ID_MOD:
                chosen = np.flatnonzero(ids % a1 == a2)
            elif subset_type == self.SUBSET_TYPE_ELEMENT_RANGE:
                behind = before + size
                chosen = np.arange(*(behind * a // total - before * a // total for a in (a1, a2)))
                before = behind
            elif subset_type == self.SUBSET_TYPE_INVLIST_FRACTION:
                chosen = np.arange(size * a2 // a1, size * (a2 + 1) // a1)
            elif subset_type == self.SUBSET_TYPE_INVLIST:
                chosen = np.arange(size if a1 <= list_no < a2 else 0)
            else:
                raise ArgumentError(f"[{op}] subset_type must be from 0 to 4. Received {subset_type!r}.")
            if chosen.size:
                other._changed("add_entries").add_entries(list_no, ids[chosen], self.get_codes(list_no)[chosen])
            copied += chosen.size
        return copied

    # ------------------------------------------------------------------------------------ helpers

    def _changed(self, method: str) -> _core.InvertedLists:
        """The lists that a method of this name changes."""
        return self._native

    def _op(self, method: str) -> str:
        return f"{type(self).__name__}.{method}"

    def _list(self, method: str, list_no: int) -> int:
        return _host.integer(self._op(method), "list_no", list_no, 0, self.nlist - 1)

    def _entries(self, op: str, entries: tuple[Any, ...]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        if len(entries) not in (2, 3):
            raise TypeError(f"[{op}] Entries must be ids and codes, or n, ids and codes. Received {len(entries)}.")
        ids, codes = map(np.asarray, entries[-2:])
        if len(entries) == 3:
            n = _host.integer(op, "n_entry", entries[0], 0)
            ids = read(op, "ids", ids, (n,), ids.dtype)
            codes = read(op, "code", codes, (n, self.code_size), codes.dtype)
        if (ids.dtype.kind not in "iu" and ids.size) or codes.dtype != np.uint8:
            raise TypeError(f"[{op}] ids must hold integers, codes uint8. Received {ids.dtype} and {codes.dtype}.")
        if ids.ndim != 1 or codes.shape != (ids.size, self.code_size):
            raise ArgumentError(
                f"[{op}] ids must have shape (n,), codes (n, {self.code_size}). Received {ids.shape} and {codes.shape}."
            )
        return np.ascontiguousarray(ids, dtype=np.int64), np.ascontiguousarray(codes)

    def _require_same_form(self, op: str, other: InvertedLists) -> None:
        if (other.nlist, other.code_size) != (self.nlist, self.code_size) or other is self:
            raise ArgumentError(
                f"[{op}] The other lists must be others of nlist {self.nlist} and code_size {self.code_size}. "
                f"Received nlist {other.nlist} and code_size {other.code_size}."
            )

    def __copy__(self) -> InvertedLists:
        other = type(self).__new__(type(self))
        other._native = self._native.copy()
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> InvertedLists:
        return self.__copy__()

    def __getstate__(self) -> dict[str, Any]:
        lists = range(self.nlist)
        return {
            "nlist": self.nlist,
            "code_size": self.code_size,
            "sizes": self.sizes(),
            "ids": np.concatenate([np.empty(0, np.int64), *(self._native.get_ids(i) for i in lists)]),
            "codes": np.concatenate(
                [np.empty((0, self.code_size), np.uint8), *(self._native.get_codes(i) for i in lists)]
            ),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._native = _core.InvertedLists(state["nlist"], state["code_size"])
        assign = np.repeat(np.arange(state["nlist"]), state["sizes"])
        self._native.add(assign, state["ids"], state["codes"])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.nlist}, {self.code_size}, ntotal={self.compute_ntotal()})"


class ArrayInvertedLists(InvertedLists):
    """Inverted lists in memory: ``ArrayInvertedLists(nlist, code_size)``."""


class DirectMap:
    """Where an IVF index finds the vector of an id: ``NoMap``, ``Array`` (ids 0, 1, ...) or ``Hashtable`` (any ids)."""

    NoMap, Array, Hashtable = 0, 1, 2

    def __init__(self) -> None:
        self._native = _core.DirectMap()

    @property
    def type(self) -> int:
        """``NoMap``, ``Array`` or ``Hashtable``."""
        return self._native.type

    @property
    def array(self) -> NDArray[np.int64]:
        """Of type ``Array``, the place of each id, list << 32 | offset: a copy, shape (ntotal,)."""
        return self._native.array()

    @property
    def hashtable(self) -> dict[int, int]:
        """Of type ``Hashtable``, the place of each id: a copy."""
        pairs = self._native.pairs()
        return dict(zip(pairs[::2].tolist(), pairs[1::2].tolist(), strict=True))

    def no(self) -> bool:
        """Whether there is no map."""
        return self.type == self.NoMap

    def get(self, id: int) -> int:
        """The place of an id, list << 32 | offset.

        Raises:
            RuntimeError: there is no map, or no such id in it.
        """
        op = "DirectMap.get"
        if self.no():
            raise RuntimeError(f"[{op}] The index must have a direct map: call make_direct_map(). Received none.")
        place = int(self._native.get(np.array([_host.require_int(op, "id", id)], dtype=np.int64))[0])
        if place < 0:
            raise RuntimeError(f"[{op}] The id must be stored. Received {id}.")
        return place

    def __copy__(self) -> DirectMap:
        other = DirectMap()
        other.__setstate__(self.__getstate__())
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> DirectMap:
        return self.__copy__()

    def __getstate__(self) -> dict[str, Any]:
        return {"type": self.type, "array": self._native.array(), "pairs": self._native.pairs()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._native = _core.DirectMap()
        self._native.restore(state["type"], state["array"], state["pairs"])
