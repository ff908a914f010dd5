"""Inverted lists in files."""

from __future__ import annotations

from typing import Any

from metalfaiss import _core
from metalfaiss.inverted_list_views import _View
from metalfaiss.inverted_lists import ArrayInvertedLists, InvertedLists
from metalfaiss.io.records import Record
from metalfaiss.io.registry import reads, writes

__all__ = ["read_lists"]

MOST_EMPTY = 1 << 20  # lists that a file may promise without holding them: 24 MB


@reads("il00")
def read_no_lists(record: Record) -> None:
    return None


@reads("ilar")
def read_lists(record: Record) -> ArrayInvertedLists:
    """Lists that borrow the bytes of the file, until they are changed."""
    nlist = record["nlist"]
    held, sizes, size = record.borrowed("sizes")
    record.require(
        nlist <= max(MOST_EMPTY, len(held)),
        f"nlist must be at most {MOST_EMPTY}, or there must be as many bytes",
        nlist,
    )
    lists = ArrayInvertedLists(nlist, record["code_size"])
    _, content, _ = record.borrowed("content")
    _core.borrow_lists(lists._native, held, sizes, size // 8, record["list_type"] == "sprs", content)
    return lists


@writes(ArrayInvertedLists, _View)
def write_lists(lists: InvertedLists) -> Any:
    return lists._native


@writes(type(None))
def write_no_lists(lists: None) -> Any:
    return "il00", {}
