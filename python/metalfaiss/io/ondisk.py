"""Inverted lists in a file of their own: FAISS's ``OnDiskInvertedLists``, and what an index file says of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core
from metalfaiss.errors import file_errors
from metalfaiss.inverted_lists import InvertedLists
from metalfaiss.io.records import Node, Record, as_bytes
from metalfaiss.io.registry import reads, writes
from metalfaiss.io.sinks import replace_file

__all__ = ["OnDiskInvertedLists"]

ID = 8  # bytes


class OnDiskInvertedLists(InvertedLists):
    """Lists whose codes and ids are read from a mapped file, where they lie one list after the other.

    ``merge_from_multiple`` fills the file. Later changes (an index's ``add``) stay in memory, as far as they reach,
    until ``write_index`` or ``flush`` writes the file anew.

    Args:
        nlist: how many lists.
        code_size: bytes of a code.
        filename: the file; it is not touched before there is something to write.

    Raises:
        TypeError: a number is not an integer.
        ValueError: it is negative.

    Attributes:
        filename: the file.
        totsize: its size in bytes.
    """

    def __init__(self, nlist: int, code_size: int, filename: str | os.PathLike[str]) -> None:
        super().__init__(nlist, code_size)
        self.filename = os.fspath(filename)
        self.totsize = 0
        self._table = np.zeros((self.nlist, 3), dtype=np.uint64)  # size, capacity, offset
        self._mapped: _core.FileBytes | None = None

    def merge_from_multiple(
        self, ils: Sequence[InvertedLists], n_il: int | None = None, shift_ids: bool = False, verbose: bool = False
    ) -> int:
        """Writes the entries of other lists to the file, behind those that each list has there.

        Args:
            ils: lists of the same form, which stay as they are.
            n_il: how many of them; all by default.
            shift_ids: whether the number of entries of those before is added to the ids of each.
            verbose: kept for FAISS's signature.

        Returns:
            How many entries there are then.

        Raises:
            ValueError: one of them has another form.
            OSError: the file cannot be written; everything is then as it was.
        """
        given = list(ils)[:n_il]
        for il in given:
            self._require_same_form(self._op("merge_from_multiple"), il)
        counts = [il.compute_ntotal() if shift_ids else 0 for il in given]
        self._write([(self, 0), *zip(given, np.cumsum([0, *counts]).tolist(), strict=False)])
        return self.compute_ntotal()

    def merge_from_1(self, il: InvertedLists, verbose: bool = False) -> int:
        """``merge_from_multiple`` of one."""
        return self.merge_from_multiple([il])

    def flush(self) -> None:
        """Writes the file anew if the lists have changed since it was written.

        Raises:
            OSError: it cannot be written; the lists, and the old file, are as they were.
        """
        if not self._on_disk():
            self._write([(self, 0)])

    def _on_disk(self) -> bool:
        """Whether every list lies where the table says."""
        if not np.array_equal(self.sizes(), self._table[:, 0]):
            return False
        first = 0 if self._mapped is None else _address(self._mapped.numpy(0, 1))
        filled = np.flatnonzero(self._table[:, 0]).tolist()
        return all(_address(self.get_codes(i)) == first + int(self._table[i, 2]) for i in filled)

    def _write(self, parts: Sequence[tuple[InvertedLists, int]]) -> None:
        sizes = np.sum([lists.sizes() for lists, _ in parts], axis=0).astype(np.uint64)
        table = np.stack([sizes, sizes, np.zeros_like(sizes)], axis=1)
        table[1:, 2] = np.cumsum(sizes * np.uint64(self.code_size + ID))[:-1]

        def write(fd: int) -> None:
            with open(fd, "wb", closefd=False) as file:
                for i in range(self.nlist):
                    for lists, _ in parts:
                        file.write(as_bytes(lists.get_codes(i)).data)
                    for lists, first in parts:
                        file.write(as_bytes(lists.get_ids(i) + first).data)

        replace_file(self.filename, 0, write)
        self._open(table)

    def _open(self, table: NDArray[np.uint64]) -> None:
        """Takes the lists that the file has at these places, which lie in it."""
        native, mapped = _core.InvertedLists(self.nlist, self.code_size), None
        if table[:, 0].any():
            mapped = _map(self.filename)
            for i in np.flatnonzero(table[:, 0]).tolist():
                n, capacity, at = (int(v) for v in table[i])
                _core.borrow_list(native, i, n, mapped, at, mapped, at + capacity * self.code_size)
        self._native, self._mapped, self._table = native, mapped, table
        self.totsize = 0 if mapped is None else len(mapped)

    def __copy__(self) -> InvertedLists:
        other = OnDiskInvertedLists(self.nlist, self.code_size, self.filename)
        other._native, other._mapped, other._table = self._native.copy(), self._mapped, self._table
        other.totsize = self.totsize
        return other

    def __getstate__(self) -> dict[str, Any]:
        self.flush()
        return {"shape": (self.nlist, self.code_size), "filename": self.filename, "table": self._table}

    def __setstate__(self, state: dict[str, Any]) -> None:
        nlist, code_size = state["shape"]
        OnDiskInvertedLists.__init__(self, nlist, code_size, state["filename"])
        self._open(state["table"])


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _map(path: str) -> _core.FileBytes:
    with file_errors():
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        return _core.FileBytes.map(fd, 0)
    finally:
        os.close(fd)


@reads("ilod")
def read_on_disk(record: Record) -> OnDiskInvertedLists:
    """Lists in the file that is named, or, if the flags say so, in the file of that name beside the index."""
    name = os.fsdecode(record.copy("filename").tobytes())
    if record.folder is not None:
        name = os.path.join(record.folder, os.path.basename(name))
    lists = OnDiskInvertedLists(record["nlist"], record["code_size"], name)
    table = record.copy("lists").reshape(-1, 3)
    if table[:, 0].any():
        size, entry = np.uint64(os.stat(name).st_size), np.uint64(lists.code_size + ID)
        counts, capacities, offsets = table[table[:, 0] > 0].T
        inside = (
            (counts <= capacities) & (offsets <= size) & (capacities <= (size - np.minimum(offsets, size)) // entry)
        )
        record.require(bool(inside.all()), f"Lists must lie in the {size} bytes of {name}", "others")
    lists._open(table)
    return lists


@writes(OnDiskInvertedLists)
def write_on_disk(lists: OnDiskInvertedLists) -> Node:
    lists.flush()
    return "ilod", {
        "nlist": lists.nlist,
        "code_size": lists.code_size,
        "lists": as_bytes(lists._table, np.uint64),
        "slots": as_bytes(np.array([0, lists.totsize] if lists.totsize else [], dtype=np.int64)),  # as FAISS has it
        "filename": np.frombuffer(os.fsencode(lists.filename), dtype=np.uint8),
        "totsize": lists.totsize,
    }
