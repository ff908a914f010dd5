"""Errors that are what Python calls them, and what FAISS raises in their place: programs catch either."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

__all__ = ["ArgumentError", "file_errors"]


class ArgumentError(ValueError, AssertionError, RuntimeError):
    """An argument has the wrong shape, or is out of range: FAISS's Python asserts, its C++ throws a RuntimeError."""


@contextlib.contextmanager
def file_errors(name: str | None = None) -> Iterator[None]:
    """Makes what the system says of a file a ``RuntimeError`` as well, which it is in FAISS, and names the file."""
    try:
        yield
    except OSError as error:
        if isinstance(error, RuntimeError) or error.errno is None:
            raise
        raise _runtime_form(type(error))(error.errno, error.strerror, error.filename or name) from None


_FORMS: dict[type[OSError], type[OSError]] = {}


def _runtime_form(kind: type[OSError]) -> type[OSError]:
    if kind not in _FORMS:
        _FORMS[kind] = type(kind.__name__, (kind, RuntimeError), {"__doc__": kind.__doc__, "__module__": __name__})
    return _FORMS[kind]
