"""Files of vectors in the form of the TEXMEX data sets: each vector behind its dimension, an int32 (all little-endian).

``fvecs`` holds float32, ``ivecs`` int32, ``bvecs`` uint8 (http://corpus-texmex.irisa.fr).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metalfaiss.errors import ArgumentError

__all__ = [
    "bvecs_iter",
    "bvecs_iter_chunked",
    "bvecs_mmap",
    "bvecs_read",
    "bvecs_write",
    "fvecs_mmap",
    "fvecs_read",
    "fvecs_write",
    "ivecs_mmap",
    "ivecs_read",
    "ivecs_write",
]

Path: TypeAlias = str | os.PathLike[str]


def _mmap(op: str, path: Path, dtype: str) -> NDArray[Any]:
    """The vectors, shape (n, d), read-only and read when they are used."""
    size, item = os.path.getsize(path), np.dtype(dtype).itemsize
    if size == 0:
        return np.empty((0, 0), dtype=dtype)
    with open(path, "rb") as file:
        head = file.read(4)
    d = int(np.frombuffer(head, "<i4")[0]) if len(head) == 4 else 0
    if d <= 0 or size % (4 + d * item):
        raise ArgumentError(
            f"[{op}] {os.fspath(path)} must hold vectors of equal dimension, each behind it. Received {size} bytes and "
            f"dimension {d}."
        )
    rows = np.memmap(path, dtype=np.uint8, mode="r").reshape(-1, 4 + d * item)
    vectors: NDArray[Any] = rows[:, 4:].view(np.dtype(dtype)) if item > 1 else rows[:, 4:]
    return vectors


def _read(op: str, path: Path, dtype: str) -> NDArray[Any]:
    return np.array(_mmap(op, path, dtype), order="C")


def _write(op: str, path: Path, vectors: ArrayLike, dtype: str) -> None:
    array = np.asarray(vectors)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ArgumentError(f"[{op}] vectors must have shape (n, d), d at least 1. Received {array.shape}.")
    n, d = array.shape
    rows = np.empty((n, 4 + d * np.dtype(dtype).itemsize), dtype=np.uint8)
    rows[:, :4] = np.frombuffer(np.array(d, dtype="<i4").tobytes(), dtype=np.uint8)
    rows[:, 4:] = np.ascontiguousarray(array, dtype=dtype).view(np.uint8)
    with open(path, "wb") as file:
        rows.tofile(file)


def fvecs_mmap(fname: Path) -> NDArray[np.float32]:
    """A memory-mapped ``fvecs`` file, float32, shape (n, d).

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds something else.
    """
    return _mmap("fvecs_mmap", fname, "<f4")


def ivecs_mmap(fname: Path) -> NDArray[np.int32]:
    """A memory-mapped ``ivecs`` file, int32, shape (n, d); errors as of ``fvecs_mmap``."""
    return _mmap("ivecs_mmap", fname, "<i4")


def bvecs_mmap(fname: Path) -> NDArray[np.uint8]:
    """A memory-mapped ``bvecs`` file, uint8, shape (n, d); errors as of ``fvecs_mmap``."""
    return _mmap("bvecs_mmap", fname, "u1")


def bvecs_iter(filepath: Path, batch_size: int = 100_000) -> Iterator[NDArray[np.uint8]]:
    """The vectors of a file in batches, each read when it is asked for."""
    vectors = bvecs_mmap(filepath)
    for first in range(0, len(vectors), batch_size):
        yield np.array(vectors[first : first + batch_size])


def bvecs_iter_chunked(chunk_folder: Path, batch_size: int = 100_000) -> Iterator[NDArray[np.uint8]]:
    """The vectors of the files chunk_0000.bvecs, chunk_0001.bvecs, ... of a folder, in batches across their limits.

    Raises:
        OSError: there is no such folder.
        ValueError: there is no such file, or one between is missing.
    """
    folder = os.fspath(chunk_folder)
    names = sorted(name for name in os.listdir(folder) if re.fullmatch(r"chunk_\d+\.bvecs", name))
    numbers = sorted(int(name[6:-6]) for name in names)
    if not names or numbers != list(range(len(names))):
        raise ArgumentError(
            f"[bvecs_iter_chunked] {folder} must hold chunk_0000.bvecs, ... Received numbers {numbers}."
        )
    left: NDArray[np.uint8] | None = None
    for name in names:
        vectors = bvecs_mmap(os.path.join(folder, name))
        first = 0
        while first < len(vectors):
            more = vectors[first : first + batch_size - (0 if left is None else len(left))]
            left = np.array(more) if left is None else np.concatenate([left, more])
            first += len(more)
            if len(left) == batch_size:
                yield left
                left = None
    if left is not None:
        yield left


def fvecs_read(fname: Path) -> NDArray[np.float32]:
    """The vectors of an ``fvecs`` file, float32, shape (n, d); errors as of ``fvecs_mmap``."""
    return _read("fvecs_read", fname, "<f4")


def ivecs_read(fname: Path) -> NDArray[np.int32]:
    """The vectors of an ``ivecs`` file, int32, shape (n, d); errors as of ``fvecs_mmap``."""
    return _read("ivecs_read", fname, "<i4")


def bvecs_read(fname: Path) -> NDArray[np.uint8]:
    """The vectors of a ``bvecs`` file, uint8, shape (n, d); errors as of ``fvecs_mmap``."""
    return _read("bvecs_read", fname, "u1")


def fvecs_write(fname: Path, m: ArrayLike) -> None:
    """Writes vectors (n, d) as float32.

    Raises:
        OSError: the file cannot be written.
        ValueError: ``m`` does not have two dimensions.
    """
    _write("fvecs_write", fname, m, "<f4")


def ivecs_write(fname: Path, m: ArrayLike) -> None:
    """Writes vectors (n, d) as int32; errors as of ``fvecs_write``."""
    _write("ivecs_write", fname, m, "<i4")


def bvecs_write(fname: Path, m: ArrayLike) -> None:
    """Writes vectors (n, d) as uint8; errors as of ``fvecs_write``."""
    _write("bvecs_write", fname, m, "u1")
