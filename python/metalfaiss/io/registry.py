"""Which function reads a fourcc, and which writes a class. Each family of types has a module that fills this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from metalfaiss.io.errors import IndexFileError
from metalfaiss.io.records import Node, Record

__all__ = ["node_of", "object_of", "reads", "writes"]

Reader = Callable[[Record], Any]
Writer = Callable[[Any], Node]
F = TypeVar("F", bound=Callable[..., Any])

_READERS: dict[str, Reader] = {}
_WRITERS: dict[type, Writer] = {}


def reads(*fourccs: str) -> Callable[[F], F]:
    """Registers ``f(record) -> object``."""

    def register(f: F) -> F:
        _READERS.update(dict.fromkeys(fourccs, f))
        return f

    return register


def writes(*classes: type) -> Callable[[F], F]:
    """Registers ``f(object) -> (fourcc, fields)`` for the classes and what is derived from them."""

    def register(f: F) -> F:
        _WRITERS.update(dict.fromkeys(classes, f))
        return f

    return register


def object_of(record: Record) -> Any:
    """The object that a record describes.

    Raises:
        NotImplementedError: it is of a type that is not built yet.
        IndexFileError: it describes an impossible object.
    """
    reader = _READERS.get(record.fourcc)
    if reader is None:
        raise NotImplementedError(
            f"[read_index] The index must be of a type that is built. Received a file of {record.class_name} "
            f"({record.fourcc}, byte {record.offset}), which metalfaiss.io.inspect can show."
        )
    try:
        return reader(record)
    except (IndexFileError, NotImplementedError):
        raise
    except (ValueError, OverflowError, RuntimeError) as e:  # what the constructors refuse
        error = IndexFileError(f"{e} ({record.fourcc}, byte {record.offset}).")
        error.offset = record.offset
        raise error from e


def node_of(value: Any) -> Node:
    """What is written for an object.

    Raises:
        RuntimeError: FAISS's format has no form for it.
    """
    for cls in type(value).__mro__:
        if writer := _WRITERS.get(cls):
            return writer(value)
    raise RuntimeError(
        f"[write_index] The index must be of a type that FAISS's files hold. Received {type(value).__name__}."
    )


def built() -> set[str]:
    """The fourccs that are read."""
    return set(_READERS)
