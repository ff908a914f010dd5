"""A parsed file: records of named fields, whose arrays are views of the file's bytes."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core
from metalfaiss.io.errors import IndexFileError

__all__ = ["Node", "Record", "as_bytes", "contents"]

Node: TypeAlias = tuple[str, dict[str, Any]]  # what is written: the fourcc, and the fields


class Record:
    """What follows one fourcc of a file.

    Args:
        parsed: what the parser made.
        bytes: of the file, from where parsing began.
        start: where parsing began in them.
        as_it_lies: whether float32 arrays may lie at any address, as they do in a mapped file.
    """

    def __init__(self, parsed: tuple[Any, ...], bytes: _core.FileBytes, start: int, as_it_lies: bool) -> None:
        self.fourcc, self.class_name, self.offset, self.fields = parsed
        self._bytes = bytes
        self._start = start
        self._as_it_lies = as_it_lies
        self.folder: str | None = None  # where files are that the record names, if not where it says

    def __getitem__(self, name: str) -> Any:
        """A number, a record, a list of records, or an array as ``array`` gives it."""
        value = self.fields[name]
        if isinstance(value, list):
            return [self._child(child) for child in value]
        if not isinstance(value, tuple):
            return value
        return self.array(name) if len(value) == 3 else self._child(value)

    def __contains__(self, name: str) -> bool:
        return name in self.fields

    def get(self, name: str, default: Any) -> Any:
        """A field, or the default where the file has none."""
        return self[name] if name in self.fields else default

    def array(self, name: str) -> NDArray[Any]:
        """A read-only view of an array, which may lie at any address."""
        dtype, begin, size = self.fields[name]
        view: NDArray[Any] = self._bytes.numpy(self._start + begin, size).view(np.dtype(dtype))
        return view

    def copy(self, name: str) -> NDArray[Any]:
        """An array of our own."""
        copied: NDArray[Any] = self.array(name).copy()
        return copied

    def mlx(self, name: str, shape: tuple[int, ...], dtype: str) -> mx.array:
        """An array on the bytes themselves where they are aligned, or the file is mapped; else a copy."""
        _, begin, size = self.fields[name]
        at = self._start + begin
        self.require(size == math.prod(shape) * np.dtype(dtype).itemsize, f"{name} must have shape {shape}", size)
        return self._bytes.mlx(at, list(shape), dtype, self._as_it_lies)

    def borrowed(self, name: str) -> tuple[_core.FileBytes, int, int]:
        """Where an array lies: the bytes, the offset in them, and its size in bytes."""
        _, begin, size = self.fields[name]
        return self._bytes, self._start + begin, size

    def require(self, holds: bool, what: str, received: object) -> None:
        """Raises IndexFileError, at this record, unless it holds."""
        if not holds:
            error = IndexFileError(f"[read_index] {what}. Received {received} ({self.fourcc}, byte {self.offset}).")
            error.offset = self.offset
            raise error

    def _child(self, parsed: tuple[Any, ...]) -> Record:
        child = Record(parsed, self._bytes, self._start, self._as_it_lies)
        child.folder = self.folder
        return child


def contents(record: Record) -> dict[str, Any]:
    """The record as plain values: for arrays their dtype, their number of elements and where they begin."""
    out: dict[str, Any] = {"fourcc": record.fourcc, "type": record.class_name, "offset": record.offset}
    for name in record.fields:
        if name.startswith("reserved"):
            continue
        value = record[name]
        if isinstance(value, Record):
            value = contents(value)
        elif isinstance(value, list):
            value = [contents(child) for child in value]
        elif isinstance(value, np.ndarray):
            value = {"dtype": str(value.dtype), "size": value.size, "offset": record.fields[name][1]}
        out[name] = value
    return out


def as_bytes(array: Any, dtype: Any = None) -> NDArray[np.uint8]:
    """The bytes of an array, MLX's or NumPy's, without a copy if it is contiguous and of the dtype."""
    found: NDArray[Any] = np.ascontiguousarray(array, dtype=dtype)
    return found.reshape(-1).view(np.uint8)
